"""Model: the text encoder, the preference predictor and the context of a group."""
