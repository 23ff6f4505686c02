"""Deployment: setting a client up, running it, and the code that it trusts."""
