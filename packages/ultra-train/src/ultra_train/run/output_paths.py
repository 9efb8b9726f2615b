"""Checks that the output paths of a preset can be made, and overlap neither each other nor the run."""

from __future__ import annotations

import os
from pathlib import Path

from ultra_train.config import TrainingConfig
from ultra_train.run.folder import check_reachable
from ultra_train.run.folder_lock import RunFolderError
from ultra_train.system import files
from ultra_train.system.run_files import (
    CHECKPOINTS,
    CONFIG,
    LOCK,
    METRICS,
    MODEL,
    OWNERSHIP_FILE,
    REPORT,
    ROLLBACKS,
    TABLE,
    TENSORBOARD,
    TOKENIZER,
)

OWN = (CONFIG, METRICS, LOCK, OWNERSHIP_FILE, ROLLBACKS, REPORT, TOKENIZER, CHECKPOINTS, TENSORBOARD)
"""What every run writes into its folder, wherever its model and table go."""


def check_output_paths(training: TrainingConfig) -> None:
    """Refuse output paths that cannot be created, before hours of work are lost.

    Raises:
        RunFolderError: says which key names it, and what is there.
    """
    cache = files.expand_user(training.cache_dir)
    if not any(cache.glob("tokens-*")):  # one that holds builds may be read-only: they are only read
        check_reachable("training.cache_dir", cache)
    if training.csv_log_path is not None:
        table = files.expand_user(training.csv_log_path)
        check_reachable("training.csv_log_path", table.parent)
        if table.is_dir():
            raise RunFolderError(f"training.csv_log_path: {table} is a folder; name a file, {table / TABLE}")
    if training.hf_output_dir is not None:
        check_reachable("training.hf_output_dir", Path(training.hf_output_dir))


def check_no_overlap(training: TrainingConfig, run: Path) -> None:
    """Refuse output paths that overlap each other, or files that every run writes.

    Args:
        training: the keys that name the paths.
        run: folder of the run; it need not be there.

    Raises:
        RunFolderError: says which keys name the same place, or one within the other.
    """
    for name in (CHECKPOINTS,) if training.hf_output_dir else (CHECKPOINTS, MODEL):
        if os.path.lexists(run / name):
            check_reachable(f"the folder {name!r} of the run", run / name)
    run = _real(run)
    asked = {
        f"training.{key}": _real(place)
        for key in ("cache_dir", "hf_output_dir", "csv_log_path")
        if (place := getattr(training, key))
    }
    for key, place in asked.items():
        for name in OWN if key == "training.hf_output_dir" else (*OWN, MODEL):
            if _is_within(place, run / name):
                raise RunFolderError(
                    f"{key}: {place} is where the run itself writes ({name} in {run}); name another place"
                )
    table = asked.pop("training.csv_log_path", run / TABLE)
    for key, folder in asked.items():
        if _is_within(folder, table):
            raise RunFolderError(_collision(key, folder, table, "a file cannot be a folder too"))
    model = asked.get("training.hf_output_dir")
    if model is not None and training.csv_log_path and _is_within(table, model):
        raise RunFolderError(
            _collision(
                "training.hf_output_dir", model, table, "the folder of the finished model holds nothing else"
            )
        )


def _collision(key: str, folder: Path, table: Path, why: str) -> str:
    return (
        f"{key} ({folder}) and training.csv_log_path ({table}) get into each other's way: {why}. Name "
        "another place for one of them."
    )


def _real(place: str | Path) -> Path:
    return Path(os.path.realpath(files.expand_user(place)))


def _is_within(place: Path, other: Path) -> bool:
    return place == other or other in place.parents
