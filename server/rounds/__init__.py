"""Rounds: the round loop, its cohort, and the collection of sums; no torch."""
