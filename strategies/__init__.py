"""Strategies: what the server does with the sum of a round. Plain numpy."""
