"""The formulas of the optimizers, one tensor at a time, as plainly as possible, for tests."""
