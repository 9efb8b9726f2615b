"""Masked language modelling: the task ``mlm``."""
