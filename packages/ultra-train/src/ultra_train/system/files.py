"""Writing and removing files without losing any that ultra did not create.

Temporary files have unused names and are created exclusively. A file is written completely or not at all. A
foreign file in the place of one of ours is renamed, not overwritten.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path, PurePath
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new empty file beside ``path``, and rename it to ``path`` when the block ends without an error.

    The file has the permissions of any new file. After an error, ``path`` is unchanged.
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
    """Write a text file completely or not at all; an existing one is replaced."""
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


def append(path: Path, content: bytes) -> None:
    """Append to a file completely or not at all; a missing file is created."""
    with path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            while content:
                content = content[file.write(content) :]
        except BaseException:
            file.truncate(size)
            raise


def new_file(folder: Path, prefix: str, suffix: str = "") -> Path:
    """Create an empty file with an unused name, and return its path."""
    while True:
        path = folder / f"{prefix}{secrets.token_hex(4)}{suffix}"
        if create(path):
            return path


def create(path: Path) -> bool:
    """Create an empty file, and return True; return False when the path exists."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return False
    return True


def new_folder(parent: Path, prefix: str) -> Path:
    """Create a folder with an unused name, and return its path."""
    while True:
        path = parent / f"{prefix}{secrets.token_hex(4)}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path


@contextmanager
def new_whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside ``path``, and rename it to ``path`` when the block ends without an error.

    After an error it is removed. ``path`` is new, or an empty folder.
    """
    temporary = new_folder(path.absolute().parent, f".{path.name}-")
    try:
        yield temporary
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def set_aside(path: Path, stem: str | None = None) -> Path:
    """Rename a file or folder to the first unused of ``name.1``, ``name.2``, ..., and return its new path.

    Args:
        path: the file or folder; the suffix of a file stays at the end.
        stem: the new name without number and suffix; by default the present one.
    """
    if not path.is_dir():
        aside = numbered(path, stem)
    else:  # a folder can only be renamed onto an empty folder
        names = (path.with_name(f"{stem or path.name}.{number}") for number in count(1))
        aside = next(name for name in names if not os.path.lexists(name))
    os.replace(path, aside)
    return aside


def numbered(path: Path, stem: str | None = None) -> Path:
    """Create an empty file with the first unused name of ``name.1.txt``, ``name.2.txt``, ...; return it."""
    for number in count(1):
        if create(new := path.with_name(f"{stem or path.stem}.{number}{path.suffix}")):
            return new
    raise AssertionError("there is always another number")


def put_in_place(
    finished: Path, target: Path, is_usable: Callable[[], bool], make_way: Callable[[], None]
) -> bool:
    """Rename a finished folder to its target, unless another process was faster and its folder is usable.

    Args:
        finished: the finished folder.
        target: its new path.
        is_usable: returns whether the present content of ``target`` can be used.
        make_way: renames or removes that content when it cannot.

    Returns:
        whether the folder was renamed; if not, ``target`` is the folder of another process.
    """
    while True:
        try:
            finished.rename(target)
        except OSError:
            if not os.path.lexists(target):
                raise
        else:
            return True
        if is_usable():
            return False
        make_way()


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove the named files of a folder, and the folders below it that are empty afterwards.

    Other files stay. Names and links that lead out of the folder are ignored.

    Args:
        folder: the folder.
        names: paths relative to it; they are removed in this order.
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
    """Remove a folder if it is empty."""
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
            raise


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not valid JSON, not UTF-8, or nested too deeply.
    """
    if not path.is_file():  # reading a pipe would block
        raise OSError(errno.ENOENT, "there is no such file", str(path))
    return parse_json(path.read_bytes())


def parse_json(text: bytes) -> Any:
    """Parse JSON in UTF-8.

    Raises:
        ValueError: it is not valid JSON, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(text.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot sync a folder
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
    """Return a path with ``~`` expanded; that of an unknown user stays as it is."""
    return Path(os.path.expanduser(name))
