"""The path of ``ParamInfo`` for plugins written for 0.1; new ones use ``ultra_core.contracts``."""

from ultra_core.contracts import PARAMETER_KINDS as KINDS
from ultra_core.contracts import SEED_ROLES, Kind, ParamInfo

__all__ = ["KINDS", "SEED_ROLES", "Kind", "ParamInfo"]
