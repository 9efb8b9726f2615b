"""Makes room for the files of a run where something stands that is none: a folder, a pipe, a broken link."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ultra_train.system import files, run_files

NAMES = (
    run_files.METRICS,
    run_files.TABLE,
    run_files.CONFIG,
    run_files.ROLLBACKS,
    run_files.REPORT,
    run_files.OWNERSHIP_FILE,
)


def clear_the_way(folder: Path, say: Callable[[str], None]) -> None:
    """Rename what has the name of a file of the run and is none; the file is made anew.

    Args:
        folder: folder of the run.
        say: hears of everything that is renamed.
    """
    for name in NAMES:
        path = folder / name
        if os.path.lexists(path) and not path.is_file():
            say(f"notice: {path} is no file; it is now {files.set_aside(path).name}")
