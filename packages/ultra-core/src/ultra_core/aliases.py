"""The path of ``Alias`` for plugins written for 0.1; new ones use ``ultra_core.plugins.aliases``."""

from ultra_core.plugins.aliases import Alias

__all__ = ["Alias"]
