"""Kernel: exact clipping, exact noise and their randomness; integers from the clip onwards."""
