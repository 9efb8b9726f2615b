"""Plain reference implementations of the optimizers, one tensor at a time, for tests."""
