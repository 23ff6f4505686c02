"""Benchmarks: speed and size as ratios inside one run, never as timed tests."""
