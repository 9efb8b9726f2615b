"""ModelConfigError: every fault of a model config in one error."""

from __future__ import annotations

from ultra_core.errors import UltraError, shortened

Path = tuple[str | int, ...]
"""Where a value stands in a config: ``("layer_pattern", 2, "retnet", "chunk_size")``."""


class ModelConfigError(UltraError, ValueError):
    """A model config that contradicts itself or the installed plugins.

    Attributes:
        faults: every fault as (path, message).
    """

    def __init__(self, faults: list[tuple[Path, str]]) -> None:
        self.faults = faults
        lines = [f"  {'.'.join(map(str, path))}: {message}" for path, message in faults]
        super().__init__("\n".join([f"{len(faults)} fault(s) in the model config:", *shortened(lines)]))
