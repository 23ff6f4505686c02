"""Alignment of a tiny causal model to groups that disagree."""
