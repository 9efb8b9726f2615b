"""The path of option aliases for optimizers written for 0.1, which moved to `ultra_optim.roles`."""

import warnings

from ultra_optim.roles.option_aliases import Implied, OptionAlias

__all__ = ["Implied", "OptionAlias"]

warnings.warn(
    "ultra_optim.spellings is called ultra_optim.roles.option_aliases now", DeprecationWarning, stacklevel=2
)
