"""Aggregation: what the vectors of a round mean, in the clear, compressed or private."""
