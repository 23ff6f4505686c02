"""An attack on the private step and the private count: canaries, and who guesses them."""
