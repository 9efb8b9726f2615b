"""ModelConfigError: every fault of a model config in one error."""

from __future__ import annotations

from ultra_core.errors import KeyPath, UltraError, shortened


class ModelConfigError(UltraError, ValueError):
    """A model config that contradicts itself or the installed plugins.

    Attributes:
        faults: every fault as (path, message).
    """

    def __init__(self, faults: list[tuple[KeyPath, str]]) -> None:
        self.faults = faults
        lines = [f"  {'.'.join(map(str, path))}: {message}" for path, message in faults]
        super().__init__("\n".join([f"{len(faults)} fault(s) in the model config:", *shortened(lines)]))
