"""Pairs: cross-validation on chosen and rejected responses."""
