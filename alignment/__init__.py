"""Alignment: preference records, the encoder with its adapters, the predictor and its measures."""
