"""Callbacks of the trainer: what a run measures, shows and reacts to."""
