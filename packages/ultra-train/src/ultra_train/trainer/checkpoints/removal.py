"""Removing checkpoints: only files that a manifest lists, and nothing that others put beside them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ultra_train.system import files
from ultra_train.trainer.checkpoints.folders import (
    MANIFEST,
    PREFIX,
    REMOVING,
    UNFINISHED,
    WRITING,
    Checkpoint,
    list_checkpoints,
    read_manifest,
)


def set_aside(root: Path, newer_than: int) -> None:
    """Rename the checkpoints that are newer than a step: they are damaged, or from before a rollback."""
    for checkpoint in list_checkpoints(root):
        if checkpoint.step > newer_than:
            _rename_unused(checkpoint.path, f"unused-{checkpoint.path.name}")


def _rename_unused(path: Path, name: str) -> None:
    aside = path.with_name(name)
    if os.path.lexists(aside):
        files.set_aside(path, name)
    else:
        path.rename(aside)


def remove_checkpoint(checkpoint: Checkpoint) -> None:
    """Remove the files of a checkpoint that its manifest lists.

    Other files in its folder are kept, in a folder ``left-of-checkpoint-<step>``. A folder without a manifest
    of ours is renamed, and nothing in it is removed.
    """
    if checkpoint.path.is_symlink() or not checkpoint.readable:
        _rename_unused(checkpoint.path, f"unused-{checkpoint.path.name}")
        return
    going = files.new_folder(checkpoint.path.parent, f"{REMOVING}{checkpoint.step}-")
    os.replace(checkpoint.path, going)  # from here on it is no checkpoint, even if this process is killed
    _remove_listed(going)


def _remove_listed(folder: Path) -> None:
    try:
        names = list(read_manifest(folder)["files"])
    except (OSError, ValueError):
        files.remove_empty(folder)
        return
    files.remove_files(folder, [*names, MANIFEST])
    files.remove_empty(folder)
    if folder.exists():
        step = folder.name.removeprefix(REMOVING).removeprefix(WRITING).split("-")[0]
        _rename_unused(folder, f"left-of-{PREFIX}{step}")


def remove_unfinished(root: Path) -> None:
    """Remove what killed processes left behind: folders that a marker or a manifest identifies as ours."""
    for path in [*root.glob(f"{WRITING}*"), *root.glob(f"{REMOVING}*")]:
        if (path / UNFINISHED).is_file() and path.name.startswith(WRITING):
            shutil.rmtree(path, ignore_errors=True)
        elif path.is_dir():
            _remove_listed(path)
