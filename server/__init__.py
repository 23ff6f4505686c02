"""Server: the rounds. It sees sums and plans, never a record."""
