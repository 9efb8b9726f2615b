"""Pre-train and adapt text encoders from one YAML preset; importing it imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__version__ = "0.1.0"


def main(arguments: Sequence[str]) -> Path:
    """Train from Python with the arguments of ``ultra-train train``: ``main(["--config", "preset.yaml"])``.

    Returns the folder of the run.

    Raises:
        ultra_core.errors.UltraError: what the command line would print as an error.
    """
    from ultra_train.cli.app import train

    return train(arguments)
