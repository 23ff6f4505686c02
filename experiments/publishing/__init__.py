"""Publishing: a trained predictor as a folder to hand on."""
