"""The path of operations for optimizers written for 0.1; new ones use `ultra_optim.engine.operations`."""

import warnings

from ultra_optim.engine.operations import (
    add,
    add_,
    clamped,
    clip_,
    copy_,
    lerp,
    lerp_,
    of_each,
    scale_,
    scaled,
    square_average_,
    square_sum,
)

__all__ = [
    "add",
    "add_",
    "clamped",
    "clip_",
    "copy_",
    "lerp",
    "lerp_",
    "of_each",
    "scale_",
    "scaled",
    "square_average_",
    "square_sum",
]

warnings.warn(
    "ultra_optim.operations is called ultra_optim.engine.operations now", DeprecationWarning, stacklevel=2
)
