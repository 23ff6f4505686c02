"""Training: plain and private steps on a group's own records."""
