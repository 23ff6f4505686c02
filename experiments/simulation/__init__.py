"""Simulation: a whole federation in one process, and its figures."""
