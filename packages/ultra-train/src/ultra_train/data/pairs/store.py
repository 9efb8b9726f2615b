"""Checked rows on disk: an Arrow file a split, which is memory-mapped and shared by later runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultra_train.data.cache import Notify, set_aside
from ultra_train.data.pairs.split_names import SPLITS, Split
from ultra_train.data.token_cache.cache_folders import disk_errors_explained, unfinished
from ultra_train.system import files
from ultra_train.system.files import expand_user

if TYPE_CHECKING:
    import datasets

RAW = "rows.arrow"
"""The file of all rows before they are divided into splits, which is removed afterwards."""
_ABOUT = "about.json"
_NAMES = {_ABOUT, RAW, *(f"{split}.arrow" for split in SPLITS)}


def remove_pairs(folder: Path) -> bool:
    """Remove the files of pairs, or of an unfinished step; return whether their folder is gone."""
    names = [path.name for path in folder.iterdir() if path.name in _NAMES or path.match("scores-*.npy")]
    files.remove_files(folder, names)
    files.remove_empty(folder)
    return not folder.exists()


class PairStore:
    """A folder with the rows of one data set, written once.

    Args:
        cache_dir: folder of the caches.
        identity: what the rows depend on; other rows have another identity.
        notify: is called with a line about a damaged folder.
    """

    def __init__(self, cache_dir: str | Path, identity: Mapping[str, Any], notify: Notify) -> None:
        text = json.dumps(identity, sort_keys=True, default=str)
        self.folder = expand_user(cache_dir) / f"pairs-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        self._notify = notify

    def about(self) -> dict[str, Any] | None:
        """Return what :meth:`building` was told, or None when files are missing or not whole."""
        try:
            about: dict[str, Any] = files.read_json(self.folder / _ABOUT)
            sizes = {name: (self.folder / name).stat().st_size for name in about["sizes"]}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return about if sizes == about["sizes"] else None

    @contextmanager
    def building(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield a new folder for the files of the splits, and a dictionary for what shall be known of them.

        At the end, the folder takes the place of the store. After an error, nothing is left.
        """
        about: dict[str, Any] = {}
        with unfinished(self.folder, _NAMES.__contains__) as folder:
            yield folder, about
            with disk_errors_explained(self.folder.parent):
                (folder / RAW).unlink(missing_ok=True)
                about["sizes"] = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
                files.write_text(folder / _ABOUT, json.dumps(about))
                files.put_in_place(folder, self.folder, lambda: self.about() is not None, self._make_way)

    def datasets(self, fingerprints: Mapping[str, str]) -> dict[Split, datasets.Dataset]:
        """Return the rows of the splits that have a fingerprint, memory-mapped."""
        import datasets
        from datasets.table import MemoryMappedTable

        with suppress(OSError):  # on a read-only disk nobody can remove it either
            self.folder.touch()  # for those who look for caches that nobody uses
        return {
            split: datasets.Dataset(
                MemoryMappedTable.from_file(str(self.folder / f"{split}.arrow")),
                fingerprint=fingerprints[split],
            )
            for split in SPLITS
            if split in fingerprints
        }

    def _make_way(self) -> None:
        aside = set_aside(self.folder)
        self._notify(
            f"notice: {self.folder} is damaged; it was renamed to {aside}, and its rows are read again"
        )
