"""The path of ``compilable`` for optimizers written for 0.1, which moved to `ultra_optim.engine`."""

import warnings

from ultra_optim.engine.compilation import compilable

__all__ = ["compilable"]

warnings.warn(
    "ultra_optim.compiled is called ultra_optim.engine.compilation now", DeprecationWarning, stacklevel=2
)
