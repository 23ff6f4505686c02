"""Checks: which settings go together, and what every strategy must do."""
