"""Data: preference records, their sources, splits and units of privacy."""
