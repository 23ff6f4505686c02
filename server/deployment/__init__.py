"""Deployment: certificates, the SuperLink, the coordinator's commands."""
