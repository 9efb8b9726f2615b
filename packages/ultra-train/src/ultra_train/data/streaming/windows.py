"""The tokenised windows of a stream in their folder, and what stays of them once their tokens are removed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import attrs

from ultra_train.data.sources.row_checker import SourceCounts
from ultra_train.data.streaming import in_use
from ultra_train.data.streaming.text_stream import Cursor
from ultra_train.data.token_cache.cache_folders import remove_build, remove_leftovers
from ultra_train.data.token_cache.manifest import MANIFEST, DamagedBuild, check, read_manifest
from ultra_train.data.token_cache.shards import TokenShards, open_build
from ultra_train.system import files


@attrs.frozen
class Window:
    """What is recorded of a window for good.

    Attributes:
        end: the cursor of the next window.
        last: whether there is no next window.
        documents: number of its documents; a window without any has no folder.
        bytes: size of its folder.
        content: hash of its tokens.
        counts: the counts of each source in it.
    """

    end: Cursor
    last: bool
    documents: int
    bytes: int
    content: str
    counts: tuple[SourceCounts, ...]

    def to_json(self) -> str:
        """Return the text of its file."""
        return json.dumps(attrs.asdict(self))


@attrs.frozen
class Split:
    """How the documents of a window are divided and drawn.

    Attributes:
        eval_fraction: share of the texts that is held out for evaluation.
        seed: seed of the choice of these texts.
        weights: how often an epoch shows the documents of each source.
    """

    eval_fraction: float
    seed: int
    weights: tuple[float, ...]


class WindowFolder:
    """The windows of a stream.

    A window is there when its record and its folder are; the record is written last. Damaged records do not
    count, and their windows are made again.

    Args:
        directory: the folder of the stream.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._known: dict[int, Window] = {}
        self._last: int | None = None
        self._whole: dict[int, int] = {}

    def path(self, number: int) -> Path:
        """Return the folder of a window."""
        return self.directory / f"window-{number:06d}"

    def record(self, number: int) -> Window | None:
        """Return what is recorded of a window, or None when it was never made."""
        if number not in self._known:
            try:
                body = files.read_json(self._record_path(number))
                self._remember(number, _window(body))
            except (OSError, ValueError, KeyError, TypeError):
                return None
        return self._known[number]

    def write_record(self, number: int, window: Window) -> None:
        """Record a window, whose folder is there."""
        files.write_text(self._record_path(number), window.to_json())
        self._remember(number, window)

    def has(self, number: int) -> bool:
        """Return whether a window can be opened; its files are checked when they are new to this process."""
        window = self.record(number)
        return window is not None and (not window.documents or self._is_whole(number))

    def open(self, number: int, split: Split) -> tuple[TokenShards, TokenShards] | None:
        """Return the training and the held-out documents of a window that is there; None if it has none."""
        window = self.record(number)
        if window is None or not window.documents:
            return None
        directory = self.path(number)
        return open_build(
            directory,
            read_manifest(directory),
            eval_fraction=split.eval_fraction,
            seed=split.seed,
            weights=split.weights,
            force=number == 0,
        )

    def present(self) -> list[int]:
        """Return the numbers of the windows whose tokens are there."""
        names = (path.name.removeprefix("window-") for path in self.directory.glob("window-*"))
        return sorted(n for n in (int(name) for name in names if name.isdecimal()) if self.path(n).is_dir())

    def remove_leftovers(self) -> None:
        """Remove what killed processes of this machine left of windows that were not finished."""
        for name in {path.name.split(".")[1] for path in self.directory.glob(".window-*")}:
            remove_leftovers(self.directory / name)

    def remove(self) -> bool:
        """Remove the whole stream, and only files that are ours; return whether its folder is gone."""
        for number in self.present():
            remove_build(self.path(number))
        self.remove_leftovers()
        for pattern in ("window-*.json", "batches-*.json", "window-*.claim", in_use.PATTERN):
            for path in self.directory.glob(pattern):
                path.unlink(missing_ok=True)
        files.remove_empty(self.directory)
        return not self.directory.exists()

    def make_room(self, budget: int, *, current: int, ahead: int, used: Callable[[], set[int]]) -> None:
        """Remove windows until their tokens take no more than a budget, first those that are needed last.

        The first window, whose held-out texts evaluation needs, and those that are in use stay.

        Args:
            budget: bytes.
            current: the window that is trained on.
            ahead: number of windows after it that stay.
            used: returns the windows that any process reads; asked before each is removed.
        """
        present = self.present()
        sizes = {n: 0 if (window := self.record(n)) is None else window.bytes for n in present}
        cycle = max(present, default=0) + 1
        stay = {0, *range(current, current + ahead + 1)}
        # the next epoch begins at window 0, so the window just before the current one is needed last
        for number in sorted(set(present) - stay, key=lambda n: -((n - current) % cycle)):
            if sum(sizes.values()) <= budget:
                return
            if number not in used() and remove_build(self.path(number)):
                del sizes[number]

    @property
    def last(self) -> int | None:
        """Return the last window of the stream, once its record was read or written."""
        return self._last

    def counts(self) -> Sequence[SourceCounts]:
        """Return the counts of each source, summed over all windows so far."""
        sums: list[SourceCounts] = []
        number = 0
        while (window := self.record(number)) is not None:
            sums = list(map(_sum, sums, window.counts)) if sums else list(window.counts)
            number += 1
        return sums

    def _is_whole(self, number: int) -> bool:
        directory = self.path(number)
        try:
            written = (directory / MANIFEST).stat().st_mtime_ns
            if self._whole.get(number) != written:
                check(directory)
                self._whole[number] = written
        except (OSError, DamagedBuild):
            return False
        return True

    def _remember(self, number: int, window: Window) -> None:
        self._known[number] = window
        if window.last:
            self._last = number

    def _record_path(self, number: int) -> Path:
        return self.path(number).with_suffix(".json")


def _sum(one: SourceCounts, two: SourceCounts) -> SourceCounts:
    values: dict[str, Any] = {"source": one.source, "repeated_exactly": False}
    for name in attrs.fields_dict(SourceCounts):
        if name not in values:
            values[name] = getattr(one, name) + getattr(two, name)
    return SourceCounts(**values)


def _window(body: Any) -> Window:
    counts = tuple(SourceCounts(**entry) for entry in body.pop("counts"))
    end: Cursor = tuple((file, offset, line, ended) for file, offset, line, ended in body.pop("end"))
    window = Window(end=end, counts=counts, **body)
    if type(window.last) is not bool or not all(
        type(n) is int and n >= 0 for n in (*chain(*window.end), window.documents, window.bytes)
    ):
        raise ValueError("it is not what was written")
    return window
