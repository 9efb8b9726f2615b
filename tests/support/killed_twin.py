"""A twin that trains without interruption, and the same killed in the middle and resumed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ultra_train.callbacks.progress import ProgressCallback
from ultra_train.run.execution import execute
from ultra_train.trainer.checkpoints.folders import Checkpoint, list_checkpoints


class Twins(NamedTuple):
    """Folders of both runs.

    Attributes:
        unbroken: of the run without interruption.
        resumed: of the other one.
        checkpoint: from which that was resumed.
        trained: what callbacks were given of the model that was trained last.
    """

    unbroken: Path
    resumed: Path
    checkpoint: Checkpoint
    trained: dict[str, Any]


def trained_twice(
    preset: Any, updates: int, folder: Path, monkeypatch: pytest.MonkeyPatch, device: str | None = "cpu"
) -> Twins:
    """Train; resume what a process leaves that is killed after an update that no checkpoint holds.

    Args:
        preset: a loaded preset of so many updates, with a checkpoint after half of them.
        updates: number of updates.
        folder: where to.
        monkeypatch: of the test.
        device: where it trains; None: as the preset says.
    """
    resumed, trained = folder / "killed" / preset.name, {}

    def watch(callback, args, state, control, **kwargs):
        trained.update(kwargs)
        if state.global_step == updates // 2 + 1 and not resumed.exists():
            shutil.copytree(folder / "unbroken" / preset.name, resumed)

    monkeypatch.setattr(ProgressCallback, "on_step_end", watch)
    unbroken = execute(preset, output_dir=folder / "unbroken", device=device)
    (checkpoint,) = list_checkpoints(resumed / "checkpoints")
    assert checkpoint.step == updates // 2
    assert not (resumed / "model").exists()
    assert execute(preset, output_dir=resumed.parent, device=device, resume=True) == resumed
    return Twins(unbroken, resumed, checkpoint, trained)
