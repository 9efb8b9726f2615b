"""Makes room for the files of a run where something stands that is none: a folder, a pipe, a broken link."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ultra_train.callbacks.csv_table import TABLE
from ultra_train.run import folder as run_folder
from ultra_train.system import files
from ultra_train.system.owned_files import OWNERSHIP_FILE

NAMES = (
    run_folder.METRICS,
    TABLE,
    run_folder.CONFIG,
    run_folder.ROLLBACKS,
    run_folder.REPORT,
    OWNERSHIP_FILE,
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
