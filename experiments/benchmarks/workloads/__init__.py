"""Workloads: what benchmarks run."""
