"""Which files a file name, a folder or a glob means, and which it holds besides."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ultra_core.errors import did_you_mean, listed
from ultra_train.data.errors import DataError
from ultra_train.data.sources.readers import SUFFIXES, suffix
from ultra_train.system.files import expand_user

_OF_A_RUN = {".lock", "config.yaml"}
"""Files that the folder of every run holds."""


class Files(NamedTuple):
    """What a name means: the files with texts, sorted, and what is passed over."""

    texts: list[Path]
    empty: list[Path]
    other: list[Path]


def find_files(name: str, *, suggest: bool = True) -> Files | None:
    """Return the files that a source names, or None when it can only be a data set of the hub.

    Args:
        name: File, folder or glob.
        suggest: Whether the error for what is not there is to name what is called nearly the same.

    Raises:
        DataError: It is not there, is empty, cannot be looked into, or holds no text in a known format.
    """
    path = expand_user(name)
    try:
        found = path.stat()
    except (OSError, ValueError):
        return _not_there(name, path, suggest)
    if stat.S_ISDIR(found.st_mode):
        return _sorted_out(_below(path), f"{name}: the folder")
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{name}: is neither a file nor a folder, so no texts can be read from it.")
    if found.st_size == 0:
        raise DataError(f"{name}: is an empty file.")
    if not suffix(path):
        raise DataError(f"{name}: is of no known format; the name must end in one of {listed(SUFFIXES)}.")
    return Files([path], [], [])


def _not_there(name: str, path: Path, suggest: bool) -> Files | None:
    if any(sign in name for sign in "*?["):
        return _sorted_out(map(Path, set(glob.glob(str(path), recursive=True))), f"{name}: the pattern")
    if not is_of_the_hub(name):
        hint = near(name) if suggest else ""
        raise DataError(
            f"{name}: there is no such file or folder (looked in {path.parent.absolute()}).{hint}"
        )
    return None


def is_of_the_hub(name: str) -> bool:
    """Whether a name that is no file or folder can be one of the hub, which has one slash at most."""
    written_as_path = name.startswith((".", "~", "/")) or name.endswith("/") or name.count("/") > 1
    return not (written_as_path or os.path.isabs(name) or suffix(Path(name)))


def near(name: str) -> str:
    """Return " Did you mean ...?" when there is something of nearly the same name beside it, else nothing."""
    path = expand_user(name)
    try:
        beside = os.listdir(path.parent)
    except (OSError, ValueError):  # it is not there, or not for us to read
        return ""
    return did_you_mean(path.name, beside)


def _below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, and the linked folders, which are not followed."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: the folder cannot be read ({error.strerror}).") from error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        if set(files) >= _OF_A_RUN:  # what ultra writes there is no data
            folders.clear()
            yield Path(parent)
            continue
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
