"""Data: the records of a group, its policy file and its home folder."""
