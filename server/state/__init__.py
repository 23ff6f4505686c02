"""State: checkpoints, resumed runs, telemetry and witnessed ledger heads."""
