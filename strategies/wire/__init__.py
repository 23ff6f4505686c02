"""Wire: what server and clients tell each other in a round, in few bytes."""
