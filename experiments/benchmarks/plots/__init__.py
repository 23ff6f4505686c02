"""Plots: the pictures of benchmarks."""
