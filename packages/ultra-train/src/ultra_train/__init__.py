"""Pre-train and adapt text encoders from one YAML preset; importing it imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from ultra_train.data.streaming.dataset import StreamingMLMDataset
    from ultra_train.trainer.storage import StorageManager

__version__ = "0.1.0"
__all__ = ["StorageManager", "StreamingMLMDataset", "main"]

_LAZY = {"StorageManager": "trainer.storage", "StreamingMLMDataset": "data.streaming.dataset"}


def main(arguments: Sequence[str]) -> Path:
    """Train from Python with the arguments of ``ultra-train train``: ``main(["--config", "preset.yaml"])``.

    Returns the folder of the run.

    Raises:
        ultra_core.errors.UltraError: what the command line would print as an error.
    """
    from ultra_train.cli.app import train

    return train(arguments)


def __getattr__(name: str) -> Any:
    """Import the classes on first use, since they import torch."""
    if name in _LAZY:
        return getattr(import_module(f"ultra_train.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'ultra_train' has no attribute {name!r}")
