"""Which files a file name, a folder or a glob means, and which it holds besides."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ultra_core.errors import did_you_mean, listed
from ultra_train.data.errors import DataError
from ultra_train.data.readers import SUFFIXES, suffix


class Files(NamedTuple):
    """What a name means: the files with texts, sorted, and what is passed over."""

    texts: list[Path]
    empty: list[Path]
    other: list[Path]


def find_files(name: str) -> Files | None:
    """Return the files that a source names, or None when it can only be a data set of the hub.

    Raises:
        DataError: It is not there, is empty, cannot be looked into, or holds no text in a known format.
    """
    path = Path(name).expanduser()
    if path.is_file():
        if path.stat().st_size == 0:
            raise DataError(f"{name}: is an empty file.")
        if not suffix(path):
            raise DataError(f"{name}: is of no known format; the name must end in one of {listed(SUFFIXES)}.")
        return Files([path], [], [])
    if path.is_dir():
        return _sorted_out(_below(path), f"{name}: the folder")
    if any(sign in name for sign in "*?["):
        return _sorted_out(map(Path, set(glob.glob(str(path), recursive=True))), f"{name}: the pattern")
    if path.exists():
        raise DataError(f"{name}: is neither a file nor a folder, so no texts can be read from it.")
    if looks_like_a_path(name):
        raise DataError(
            f"{name}: there is no such file or folder (looked in {path.parent.resolve()}).{near(name)}"
        )
    return None


def looks_like_a_path(name: str) -> bool:
    """Whether a name cannot be one of the hub."""
    path = Path(name).expanduser()
    written_as_one = name.startswith((".", "~")) or name.endswith("/") or name.count("/") > 1
    return bool(suffix(path)) or path.is_absolute() or written_as_one


def near(name: str) -> str:
    """Return " Did you mean ...?" when there is something of nearly the same name beside it, else nothing."""
    path = Path(name).expanduser()
    return did_you_mean(path.name, os.listdir(path.parent) if path.parent.is_dir() else [])


def _below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, and the linked folders, which are not followed."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: the folder cannot be read ({error.strerror}).") from error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        yield from (Path(parent, name) for name in files + links)


def _sorted_out(entries: Iterable[Path], what: str) -> Files:
    """Sort the entries out; by name, since the file system's order is chance."""
    texts: list[Path] = []
    empty: list[Path] = []
    other: list[Path] = []
    for entry in sorted(entries):
        if not suffix(entry) or entry.is_dir():
            other.append(entry)
        elif not entry.exists():
            raise DataError(f"{entry}: is a link to a file that is not there; mend or remove it.")
        elif not entry.is_file():
            other.append(entry)
        else:
            (texts if entry.stat().st_size else empty).append(entry)
    if not texts and not empty:
        raise DataError(f"{what} holds no file whose name ends in one of {listed(SUFFIXES)}.")
    if not texts:
        raise DataError(f"{what} holds only empty files.")
    return Files(texts, empty, other)
