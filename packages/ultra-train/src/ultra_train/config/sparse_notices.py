"""What is said before a sparse preset without faults is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ultra_core.errors import listed

if TYPE_CHECKING:
    from ultra_train.config.preset import SparseFile


def sparse_notices(preset: SparseFile, renamed: list[str]) -> tuple[str, ...]:
    """Return one line for other names of keys and choices, and one for a device that is not there.

    Args:
        preset: as written.
        renamed: other names that were rewritten before the preset was read, in words.
    """
    lines = [f"other names: {listed(renamed)}"] if renamed else []
    return (*lines, *_device(preset))


def _device(preset: SparseFile) -> Iterator[str]:
    wanted = preset.hardware.device
    if wanted in (None, "cpu"):
        return
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    best = next(device for device, has in there.items() if has)
    if not there[wanted]:
        yield f"hardware.device: there is no {wanted} on this machine; the best that is there is {best}"
