"""Renames what blocks the files of a run: folders, pipes and broken links under their names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ultra_train.system import files, run_files

NAMES = (
    run_files.METRICS,
    run_files.TABLE,
    run_files.CONFIG,
    run_files.FACTS,
    run_files.ROLLBACKS,
    run_files.REPORT,
    run_files.OWNERSHIP_FILE,
)


def set_aside_obstructions(folder: Path, say: Callable[[str], None]) -> None:
    """Rename what has the name of a file of the run and is no file; the run creates the file again.

    Args:
        folder: folder of the run.
        say: prints what is renamed.
    """
    for name in NAMES:
        path = folder / name
        if os.path.lexists(path) and not path.is_file():
            say(f"notice: {path} is no file; it is now {files.set_aside(path).name}")
