"""Experiments: whole federations on one machine, their pictures, and the benchmarks."""
