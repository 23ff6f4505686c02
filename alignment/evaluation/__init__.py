"""Evaluation: agreement with answers, fairness between groups, calibration."""
