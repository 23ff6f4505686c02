"""Training: losses, weights, step sizes and per-unit gradients."""
