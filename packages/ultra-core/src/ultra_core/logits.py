"""The path of ``RecordsLogits`` for plugins written for 0.1; new ones use ``ultra_core.contracts``."""

from ultra_core.contracts import LogitRows, RecordsLogits

__all__ = ["LogitRows", "RecordsLogits"]
