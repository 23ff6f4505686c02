"""Planning before anything runs: the cost of a privacy plan, and the strategies that go with it."""
