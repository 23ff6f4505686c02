"""Questionnaires, and answers out of noised counts."""
