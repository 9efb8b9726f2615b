"""Masked-language modelling: the task ``mlm``."""

from ultra_train.tasks.mlm.task import MLM

__all__ = ["MLM"]
