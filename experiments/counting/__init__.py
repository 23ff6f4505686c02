"""Choosing between the private mechanisms, and settings on noised counts."""
