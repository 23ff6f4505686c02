"""Data: the records of a group, its group policy and its home folder."""
