"""Base models with adapters: text encoders, reward models, and language models that write."""
