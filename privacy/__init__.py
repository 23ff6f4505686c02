"""Privacy: the differential-privacy kernel and its accounting. Knows nothing of models or networks."""
