"""Compare: FedAccord beside other methods on one split."""
