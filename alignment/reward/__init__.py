"""Reward: the predictor as a reward model, for one group or for many."""
