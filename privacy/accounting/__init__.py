"""Accounting: what a plan of private rounds costs, and the plan that a group accepts."""
