"""Baselines that FedAccord is compared with."""
