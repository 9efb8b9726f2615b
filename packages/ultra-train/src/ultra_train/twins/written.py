"""Folders that twins share, each written once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ultra_train.system import files


def written(folder: Path, write: Callable[[Path], None]) -> Path:
    """Write a folder whole unless it is there; of several processes that do so, the first one wins."""
    if not folder.is_dir():
        temporary = files.new_folder(folder.parent, f".{folder.name}-")
        try:
            write(temporary)
            files.put_in_place(temporary, folder, folder.is_dir, lambda: None)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder
