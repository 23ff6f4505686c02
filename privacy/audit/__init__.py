"""Audit: offline checks of ledgers, the privacy card, the report and the canary attack."""
