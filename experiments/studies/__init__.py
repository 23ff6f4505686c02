"""Studies: many runs described by a file, with tables and pictures."""
