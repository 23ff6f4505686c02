"""Planning: what a privacy plan costs and which strategies go with it, before anything runs."""
