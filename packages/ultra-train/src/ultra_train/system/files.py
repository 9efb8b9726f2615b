"""Writing and removing files so that nothing is lost that ultra did not make.

A temporary has a name that nothing has, and is created exclusively. A file is there whole or not at all. What
stands where a file of ours is to go, and is not ours, is renamed.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path, PurePath
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new empty file beside ``path``, which takes its place when the block ends without an error.

    The permissions are those of any new file. An error leaves ``path`` as it was and nothing else.
    """
    temporary = new_file(path.parent, f".{path.name}.", ".tmp")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, in the place of the one that is there."""
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


def new_file(folder: Path, prefix: str, suffix: str = "") -> Path:
    """Create an empty file with a name that nothing in the folder has, and return its path."""
    while True:
        path = folder / f"{prefix}{secrets.token_hex(4)}{suffix}"
        if create(path):
            return path


def create(path: Path) -> bool:
    """Create an empty file; False when something has its name already."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return False
    return True


def new_folder(parent: Path, prefix: str) -> Path:
    """Create a folder with a name that nothing beside it has, and return its path."""
    while True:
        path = parent / f"{prefix}{secrets.token_hex(4)}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path


def set_aside(path: Path, stem: str | None = None) -> Path:
    """Rename a file or folder to the first free of ``name.1``, ``name.2``, ... and return its new path.

    Args:
        path: what is to move; a suffix stays at the end.
        stem: its new name without number and suffix; its own when left out.
    """
    if not path.is_dir():
        aside = numbered(path, stem)
    else:  # to be renamed onto something, that would have to be an empty folder
        names = (path.with_name(f"{stem or path.name}.{number}") for number in count(1))
        aside = next(name for name in names if not os.path.lexists(name))
    os.replace(path, aside)
    return aside


def numbered(path: Path, stem: str | None = None) -> Path:
    """Create an empty file with the first free name of ``name.1.txt``, ``name.2.txt``, ..., and return it."""
    for number in count(1):
        if create(new := path.with_name(f"{stem or path.stem}.{number}{path.suffix}")):
            return new
    raise AssertionError("there is always another number")


def put_in_place(made: Path, place: Path, whole: Callable[[], bool], make_way: Callable[[], None]) -> bool:
    """Give a finished folder its name, unless another process was faster and its folder is whole.

    Args:
        made: the finished folder.
        place: its name.
        whole: says whether what has the name now can be used.
        make_way: renames or removes what cannot.

    Returns:
        whether ``made`` has the name; it has not where the folder of another process is used.
    """
    while True:
        try:
            made.rename(place)
        except OSError:
            if not os.path.lexists(place):
                raise
        else:
            return True
        if whole():
            return False
        make_way()


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove the named files of a folder, and the folders below it that are empty then.

    What is not named stays, and so does what a name or a link outside of the folder leads to.

    Args:
        folder: where they are.
        names: paths below it, removed in this order.
    """
    inside: set[Path] = set()
    for name in map(PurePath, names):
        parents = [folder / p for p in name.parents if p.parts]
        if name.is_absolute() or ".." in name.parts or any(p.is_symlink() for p in parents):
            continue
        (folder / name).unlink(missing_ok=True)
        inside.update(p for p in parents if p.is_dir())
    for path in sorted(inside, reverse=True):
        remove_empty(path)


def remove_empty(folder: Path) -> None:
    """Remove a folder if nothing is in it."""
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
            raise


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON that a program wrote: bad syntax, no UTF-8, nested thousands deep.
    """
    if not path.is_file():  # a pipe would be waited for
        raise OSError(errno.ENOENT, "there is no such file", str(path))
    return parse_json(path.read_bytes())


def parse_json(text: bytes) -> Any:
    """Parse JSON in UTF-8; every fault is a ``ValueError``."""
    try:
        return json.loads(text.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def sync(path: Path) -> None:
    """Have the system write a file or folder to the disk now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot sync folders
            raise
    finally:
        os.close(descriptor)


def is_full_disk(error: BaseException) -> bool:
    """Return whether an error means that the disk or the quota is full (safetensors reports it as text)."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    text = str(error).lower()
    return any(said in text for said in ("no space left", "quota exceeded", "os error 28", "file too large"))


def expand_user(name: str | Path) -> Path:
    """Return a path without its ``~``; that of a user who is not known stays."""
    return Path(os.path.expanduser(name))
