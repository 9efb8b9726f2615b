"""How files come and go in a cache: what is written appears whole, and only what is ours is removed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ultra_train.data.cache import Notify, set_aside
from ultra_train.data.errors import DataError
from ultra_train.data.token_cache.manifest import MANIFEST, files_of, is_name_of_shard


@contextmanager
def unfinished(directory: Path) -> Iterator[Path]:
    """Give an empty folder of a name that no other process has, beside the place it is meant for.

    It is removed at the end if it still is there. Those that killed processes of this machine left are
    removed before.
    """
    with disk_errors_explained(directory.parent):
        directory.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(directory)
        made = directory.with_name(f"{_prefix(directory)}{os.getpid()}.{secrets.token_hex(4)}")
        made.mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)  # made above, and known to nobody else


def remove_leftovers(directory: Path) -> None:
    """Remove unfinished builds of the same place whose process, on this machine, is no more.

    Only files with the names of a build's are removed; a folder that holds others stays.
    """
    prefix = _prefix(directory)
    for entry in directory.parent.glob(f"{prefix}*"):
        process = entry.name.removeprefix(prefix).partition(".")[0]
        if not process.isdecimal() or _is_alive(int(process)) or entry.is_symlink() or not entry.is_dir():
            continue
        files = [path for path in entry.iterdir() if path.name == MANIFEST or is_name_of_shard(path.name)]
        _remove(files, entry)


def make_way(directory: Path, notify: Notify) -> None:
    """Remove a build that cannot be used, but nothing that its manifest does not list.

    What is left of it, or what is no build at all, is renamed, and ``notify`` is given a line about it.
    """
    if not directory.is_symlink() and directory.is_dir() and _remove(files_of(directory), directory):
        return
    notify(
        f"notice: {directory} holds what is no part of a token cache; it is kept as {set_aside(directory)}"
    )


def _remove(files: list[Path], folder: Path) -> bool:
    """Remove files, and their folder if it is empty then; return whether it is gone."""
    for path in files:
        if path.is_file() and not path.is_symlink():
            path.unlink()
    with suppress(OSError):  # it is not empty
        folder.rmdir()
    return not os.path.lexists(folder)


def _prefix(directory: Path) -> str:
    return f".{directory.name}.{socket.gethostname()}."


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def disk_errors_explained(folder: Path) -> Iterator[None]:
    """Turn the error of a full or unwritable disk into one that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"{folder}: the disk is full; the unfinished token cache was removed. "
                "Free some space, or name a folder on another disk with training.cache_dir."
            ) from error
        raise DataError(
            f"{folder}: the token cache cannot be written ({error.strerror or error}); "
            "name another folder with training.cache_dir."
        ) from error
