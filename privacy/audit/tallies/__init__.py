"""The checks of tallies: answers that a group has counted once, and trains on ever after."""
