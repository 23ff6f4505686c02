"""The comparison of a privacy card with the one that the evidence at hand makes."""
