"""Privacy: the differential-privacy kernel and its accounting; no models, no networks."""
