"""The house in figures: sizes of modules and functions, circles, ignores, a record's way."""
