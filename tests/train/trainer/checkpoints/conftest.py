"""Checkpoints of one small file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ultra_train.trainer.checkpoints.folders import Checkpoint
from ultra_train.trainer.checkpoints.writing import write_checkpoint


@pytest.fixture
def put() -> Callable[..., Checkpoint]:
    """Write a checkpoint of a file ``data``: ``put(root, step, "content", loss=1.0)``."""

    def write(root: Path, step: int, text: str = "weights", **metrics: float) -> Checkpoint:
        return write_checkpoint(
            root, step, lambda folder: (folder / "data").write_text(text), {"metrics": metrics}
        )

    return write
