"""Sessions: what a client keeps between the messages of a run."""
