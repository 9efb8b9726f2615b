"""Finding the text files that a file name, a folder or a glob stands for."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ultra_core.errors import did_you_mean, listed
from ultra_train.data.errors import DataError
from ultra_train.data.sources.readers import SUFFIXES, suffix
from ultra_train.system.files import expand_user

_OF_A_RUN = {".lock", "config.yaml"}
"""Files in the folder of every run."""


class FoundFiles(NamedTuple):
    """The files that a name stands for.

    Attributes:
        texts: files with text, sorted by name.
        empty: empty files, which are skipped.
        other: files of other formats, which are skipped.
    """

    texts: list[Path]
    empty: list[Path]
    other: list[Path]


def find_files(name: str, *, suggest: bool = True, suffixes: Sequence[str] = SUFFIXES) -> FoundFiles | None:
    """Return the files that a source stands for, or None when it can only be a data set of the hub.

    Args:
        name: file, folder or glob.
        suggest: whether the error for a missing file suggests files with similar names.
        suffixes: the endings of names that are files of texts; others are skipped in a folder.

    Raises:
        DataError: it does not exist, is empty, cannot be read, or has no file in a known format.
    """
    path = expand_user(name)
    try:
        found = path.stat()
    except (OSError, ValueError):
        return _missing(name, path, suggest, suffixes)
    if stat.S_ISDIR(found.st_mode):
        return _sort_files(_walk(path), f"{name}: the folder", suffixes)
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{name}: is neither a file nor a folder, so no texts can be read from it.")
    if found.st_size == 0:
        raise DataError(f"{name}: is an empty file.")
    if not suffix(path, suffixes):
        raise DataError(f"{name}: has no known format; the name must end in one of {listed(suffixes)}.")
    return FoundFiles([path], [], [])


def _missing(name: str, path: Path, suggest: bool, suffixes: Sequence[str]) -> FoundFiles | None:
    if any(sign in name for sign in "*?["):
        files = map(Path, set(glob.glob(str(path), recursive=True)))
        return _sort_files(files, f"{name}: the pattern", suffixes)
    if not may_be_on_hub(name) or suffix(path, suffixes):
        hint = suggestion(name) if suggest else ""
        raise DataError(
            f"{name}: there is no such file or folder (looked in {path.parent.absolute()}).{hint}"
        )
    return None


def may_be_on_hub(name: str) -> bool:
    """Return whether a name can be a data set of the hub: it has one slash at most and looks like no path."""
    written_as_path = name.startswith((".", "~", "/")) or name.endswith("/") or name.count("/") > 1
    return not (written_as_path or os.path.isabs(name) or suffix(Path(name)))


def suggestion(name: str) -> str:
    """Return " Did you mean ...?" when a file beside it has a similar name, else an empty string."""
    path = expand_user(name)
    try:
        beside = os.listdir(path.parent)
    except (OSError, ValueError):  # it does not exist, or we may not read it
        return ""
    return did_you_mean(path.name, beside)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, and the links to folders, which are not followed."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: the folder cannot be read ({error.strerror}).") from error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        if set(files) >= _OF_A_RUN:  # the folder of a run holds no data
            folders.clear()
            yield Path(parent)
            continue
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        yield from (Path(parent, name) for name in files + links)


def _sort_files(entries: Iterable[Path], what: str, suffixes: Sequence[str]) -> FoundFiles:
    """Sort entries by name, since the order of the file system is arbitrary, and by kind."""
    texts: list[Path] = []
    empty: list[Path] = []
    other: list[Path] = []
    for entry in sorted(entries):
        if not suffix(entry, suffixes) or entry.is_dir():
            other.append(entry)
        elif not entry.exists():
            raise DataError(f"{entry}: is a broken link; repair or remove it.")
        elif not entry.is_file():
            other.append(entry)
        else:
            (texts if entry.stat().st_size else empty).append(entry)
    if not texts and not empty:
        raise DataError(f"{what} holds no file whose name ends in one of {listed(suffixes)}.")
    if not texts:
        raise DataError(f"{what} holds only empty files.")
    return FoundFiles(texts, empty, other)
