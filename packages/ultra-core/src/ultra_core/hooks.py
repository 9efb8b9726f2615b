"""The path of ``hookimpl`` for plugins written for 0.1; new ones use ``ultra_core.plugins.hooks``."""

from ultra_core.plugins.hooks import Registries, Run, hookimpl

__all__ = ["Registries", "Run", "hookimpl"]
