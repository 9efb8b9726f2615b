"""Writing a checkpoint so that it is complete or not there at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ultra_train.system import files
from ultra_train.system.checksums import checksum
from ultra_train.system.disk_space import DiskFullError, free_bytes, megabytes
from ultra_train.trainer.checkpoints.folders import (
    MANIFEST,
    PREFIX,
    UNFINISHED,
    WRITING,
    Checkpoint,
    newest_name,
)
from ultra_train.trainer.checkpoints.removal import remove_checkpoint, remove_unfinished


def write_checkpoint(
    root: Path, step: int, fill: Callable[[Path], None], facts: Mapping[str, Any]
) -> Checkpoint:
    """Write a checkpoint so that it is complete or not there at all.

    Args:
        root: folder of the run's checkpoints.
        step: number of updates so far.
        fill: writes the files into the folder it is given.
        facts: further content of the manifest.

    Raises:
        DiskFullError: the disk is full; nothing half-written is left.
    """
    target = Checkpoint(root / f"{PREFIX}{step}", step)
    temporary = None
    try:
        temporary = files.new_folder(root, f"{WRITING}{step}-")
        (temporary / UNFINISHED).touch()
        fill(temporary)
        written = {
            p.relative_to(temporary).as_posix(): {"bytes": p.stat().st_size, "sha256": checksum(p)}
            for p in sorted(temporary.rglob("*"))
            if p.is_file() and p.name != UNFINISHED
        }
        manifest = {"step": step, **facts, "files": written}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
        for name in [*written, MANIFEST]:
            files.sync(temporary / name)
        (temporary / UNFINISHED).unlink()
        files.sync(temporary)
        if target.path.exists():  # damaged, or from before a rollback; the new one replaces it
            remove_checkpoint(target)
        temporary.rename(target.path)
        files.sync(root)
    except Exception as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if not files.is_full_disk(error):
            raise
        raise DiskFullError(
            f"the disk or the quota is full, with {megabytes(free_bytes(root))} free in {root}; nothing "
            f"half-written is left, and a run that is resumed now continues from {newest_name(root)}"
        ) from error
    remove_unfinished(root)
    return target


def record_metrics(root: Path, step: int, metrics: Mapping[str, float]) -> None:
    """Add the metrics of an evaluation to a checkpoint that is already written."""
    checkpoint = Checkpoint(root / f"{PREFIX}{step}", step)
    if checkpoint.readable:
        text = json.dumps({**checkpoint.manifest, "metrics": dict(metrics)}, indent=1)
        files.write_text(checkpoint.path / MANIFEST, text)
