"""The lock of the folder of a run: two processes never write into the same folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import IO

from ultra_core.errors import UltraError
from ultra_train.system.run_files import LOCK

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # no advisory locks on this system
    fcntl = None

_held: set[IO[str]] = set()


class RunFolderError(UltraError):
    """A folder cannot be used by this run."""


def is_locked(folder: Path) -> bool:
    """Whether a process trains in a folder now."""
    try:
        with locked(folder):
            return False
    except RunFolderError:
        return True


def is_held(folder: Path) -> bool:
    """Whether a process trains in a folder now; writes nothing, unlike :func:`is_locked`."""
    if fcntl is None:
        return False
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # there is no lock file, or it cannot be read
    return False


@contextmanager
def locked(folder: Path) -> Iterator[set[Path]]:
    """Lock the folder of a run for this process; the lock ends with the process.

    Yields:
        those of the lock file, the folder and its parents that did not exist before.

    Raises:
        RunFolderError: another process trains in it, or it cannot be written.
    """
    missing: set[Path] = set()
    with _locked_file(folder, missing) as file:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        if fcntl is None:
            file.close()  # an open file could not be removed there
        _held.add(file)
        try:
            yield missing
        finally:
            _held.discard(file)


def _locked_file(folder: Path, missing: set[Path]) -> IO[str]:
    """Open and lock the lock file of a folder, and add the paths that did not exist to ``missing``.

    The process that holds the lock may remove the file just before it releases it. A lock on a removed file
    would exclude nobody, so the file is opened again.
    """
    while True:
        file = _open(folder, missing)
        try:
            if _lock(file, folder):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _open(folder: Path, missing: set[Path]) -> IO[str]:
    path = folder / LOCK
    for last in (False,) * 100 + (True,):
        missing.update(p for p in (path, folder, *folder.parents) if not os.path.lexists(p))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return path.open("a+", encoding="utf-8", errors="replace")
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            if isinstance(error, FileNotFoundError) and not last:  # its holder has just removed the folder
                continue
            raise RunFolderError(
                f"{folder}: the folder of the run cannot be written ({error.strerror}); choose another one "
                "with --output-dir"
            ) from error
    raise AssertionError("the last attempt returns or raises")


def _lock(file: IO[str], folder: Path) -> bool:
    """Lock the file, and return whether its path still leads to it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        number = file.read().strip()
        holder = f"process {number}" if number else "another process"
        raise RunFolderError(
            f"{folder} is in use: {holder} trains in it. Wait for it, or choose another --name."
        ) from error
    try:
        return os.path.samestat(os.fstat(file.fileno()), (folder / LOCK).stat())
    except FileNotFoundError:
        return False


def _close_inherited_locks() -> None:
    """Close the locks in a forked child, which would hold them after the death of its parent."""
    for file in _held:
        file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited_locks)
