"""Baselines: what FedAccord is compared with."""
