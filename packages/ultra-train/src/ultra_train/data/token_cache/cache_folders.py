"""Creating and removing folders in the token cache; only files that are ours are ever removed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ultra_train.data.cache import Notify, set_aside
from ultra_train.data.errors import DataError
from ultra_train.data.token_cache.manifest import MANIFEST, files_of, is_shard_name


def _is_of_a_build(name: str) -> bool:
    return name == MANIFEST or is_shard_name(name)


@contextmanager
def unfinished(directory: Path, is_ours: Callable[[str], bool] = _is_of_a_build) -> Iterator[Path]:
    """Yield a new empty folder beside ``directory``, for a build that will be renamed to it.

    Removes the folder at the end, unless it was renamed. Before, removes the folders that killed processes of
    this machine left behind.

    Args:
        directory: where the finished build will be.
        is_ours: returns whether a build has files of a name; others are never removed.
    """
    with disk_errors_explained(directory.parent):
        directory.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(directory, is_ours)
        folder = directory.with_name(f"{_prefix(directory)}{os.getpid()}.{secrets.token_hex(4)}")
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # created above, and known to no other process


def remove_leftovers(directory: Path, is_ours: Callable[[str], bool] = _is_of_a_build) -> None:
    """Remove the unfinished builds for a directory whose process, on this machine, has ended.

    Removes only files with names of a build; a folder that holds other files stays.
    """
    prefix = _prefix(directory)
    for entry in directory.parent.glob(f"{prefix}*"):
        process = entry.name.removeprefix(prefix).partition(".")[0]
        if not process.isdecimal() or is_alive(int(process)) or entry.is_symlink() or not entry.is_dir():
            continue
        _remove([path for path in entry.iterdir() if is_ours(path.name)], entry)


def make_way(directory: Path, notify: Notify) -> None:
    """Remove a build that cannot be used, and only the files that its manifest lists.

    If other files are left, or if it is not a build, renames the folder and calls ``notify`` with a line.
    """
    if not directory.is_symlink() and directory.is_dir() and remove_build(directory):
        return
    aside = set_aside(directory)
    notify(f"notice: {directory} holds files that are not of a token cache; it was renamed to {aside}")


def remove_build(directory: Path) -> bool:
    """Remove a build, and only the files that its manifest lists; return whether its folder is gone."""
    return _remove(files_of(directory), directory)


def _remove(files: list[Path], folder: Path) -> bool:
    """Remove files, and their folder if it is empty afterwards; return whether the folder is gone."""
    for path in files:
        if path.is_file() and not path.is_symlink():
            path.unlink()
    with suppress(OSError):  # it is not empty
        folder.rmdir()
    return not os.path.lexists(folder)


def _prefix(directory: Path) -> str:
    return f".{directory.name}.{socket.gethostname()}."


def is_alive(process: int) -> bool:
    """Return whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def disk_errors_explained(folder: Path) -> Iterator[None]:
    """Turn the error of a full or read-only disk into one that names a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"{folder}: the disk is full; the unfinished cache was removed. "
                "Free some space, or name a folder on another disk with training.cache_dir."
            ) from error
        raise DataError(
            f"{folder}: the cache cannot be written ({error.strerror or error}); "
            "name another folder with training.cache_dir."
        ) from error
