"""Caches that no run has used for some time, and their removal."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ultra_train.data.pairs.store import remove_pairs
from ultra_train.data.streaming.windows import WindowFolder
from ultra_train.data.token_cache.cache_folders import remove_build
from ultra_train.data.token_cache.shared_encoding import SHARED, remove_shared

IDLE = 86_400.0
"""Seconds after which a cache that no run has marked as used may be removed."""


def idle_caches(cache_dir: Path, in_use: Iterable[Path] = ()) -> list[Path]:
    """Return the builds, streams and pairs in a folder that no run has used for a day, longest unused first.

    Chunks that processes have left of a build that they did not finish count as a build.

    Args:
        cache_dir: the folder.
        in_use: those that this run uses; they are marked as used now.
    """
    used = set(in_use)
    for path in used:
        with suppress(OSError):  # on a read-only disk nobody can remove it either
            _mark(path).touch()
    found = [
        path for pattern in ("tokens-*", "stream-*", "pairs-*", SHARED) for path in cache_dir.glob(pattern)
    ]
    since = {path: _last_use(path) for path in found if path.is_dir() and path not in used}
    return sorted((p for p, at in since.items() if time.time() - at > IDLE), key=lambda p: since[p])


def remove_cache(directory: Path) -> bool:
    """Remove a build, a stream or pairs, and only files that are ours; return whether its folder is gone."""
    if directory.match(SHARED):
        return remove_shared(directory)
    if directory.name.startswith("pairs-"):
        return remove_pairs(directory)
    _mark(directory).unlink(missing_ok=True)
    if directory.name.startswith("stream-"):
        return WindowFolder(directory).remove()
    return remove_build(directory)


def _last_use(directory: Path) -> float:
    marks = [path.stat().st_mtime for path in (directory, _mark(directory)) if path.exists()]
    return max(marks, default=0.0)


def _mark(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.used")
