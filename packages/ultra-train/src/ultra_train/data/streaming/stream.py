"""A corpus as a stream of windows: what the loader and the evaluation of a run need of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ultra_train.data.cache import Notify
from ultra_train.data.errors import DataError
from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.place import Place
from ultra_train.data.sources.row_checker import OnBadRows
from ultra_train.data.streaming.ahead import Ahead, OnDemand, ProcessAhead
from ultra_train.data.streaming.extent import Extent
from ultra_train.data.streaming.in_use import WindowsInUse
from ultra_train.data.streaming.maker import WindowSettings
from ultra_train.data.streaming.text_stream import Texts
from ultra_train.data.streaming.windows import Split, WindowFolder
from ultra_train.data.token_cache.build import build_facts, hash_of
from ultra_train.data.token_cache.cache_folders import disk_errors_explained
from ultra_train.data.token_cache.cutting import Cutting
from ultra_train.data.token_cache.shards import TokenShards
from ultra_train.hf.vocabulary import num_token_ids
from ultra_train.system.files import expand_user

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FORMAT = 2  # in the first one, sources were read one after the other
_AHEAD = 2
"""Windows that are made ahead of the one that is trained on; one more for every further process."""


class WindowStream:
    """The windows of a corpus, made while others are trained on.

    The texts are divided into windows of consecutive texts. Held-out texts are in no batch; those of the
    first window are what is evaluated.

    Args:
        sources: the sources; every window has texts of all of them, in proportion to their sizes.
        tokenizer: a tokenizer of transformers.
        cutting: how texts become documents.
        cache_dir: folder of the windows.
        window: number of texts in a window.
        eval_fraction: share of the texts that is held out; may be 0.
        seed: seed of the choice of held-out texts.
        num_workers: number of processes that tokenise; with 0, windows are made in this process when they
            are needed, else in a process of its own ahead of time.
        budget: bytes that the windows may take; those around the current one always stay.
        on_bad_rows: whether a row that cannot be used is an error, or is skipped and counted.
        processes: number of processes of the run.
        say: is called with lines for the user.

    Raises:
        DataError: a source cannot be used.
    """

    def __init__(
        self,
        sources: Sequence[DataSource],
        tokenizer: PreTrainedTokenizerBase,
        *,
        cutting: Cutting,
        cache_dir: str | Path,
        window: int,
        eval_fraction: float,
        seed: int,
        num_workers: int,
        budget: int,
        on_bad_rows: OnBadRows = "error",
        processes: int = 1,
        say: Notify,
    ) -> None:
        self.say, self.window = say, window
        self.split = Split(eval_fraction, seed, tuple(source.weight for source in sources))
        self._extents, self._budget = [Extent(source) for source in sources], budget
        about = build_facts(
            sources, tokenizer, cutting, eval_fraction=eval_fraction, seed=seed, streamed=True
        )
        about |= {"stream": _FORMAT, "window": window, "on_bad_rows": on_bad_rows}
        folder = expand_user(cache_dir)
        self.folder = WindowFolder(folder / f"stream-{hash_of(about)}")
        settings = WindowSettings(
            texts=Texts(tuple(sources), folder, on_bad_rows, say),
            encoder=cutting.encoder(tokenizer),
            cutting=cutting,
            split=self.split,
            window=window,
            chunk=max(1, -(-window // (4 * max(1, num_workers)))),
            num_workers=num_workers,
            num_token_ids=num_token_ids(tokenizer),
            about=about,
        )
        with disk_errors_explained(self.folder.directory):
            self.folder.directory.mkdir(parents=True, exist_ok=True)
        self._in_use = WindowsInUse(self.folder.directory)
        self._num_ahead = _AHEAD + processes - 1
        self._ahead: Ahead = (
            ProcessAhead(self.folder, settings, self._num_ahead, say)
            if num_workers
            else OnDemand(self.folder, settings)
        )
        self.wait_for(0)
        record, parts = self.folder.record(0), self.folder.open(0, self.split)
        if record is None or parts is None or not len(parts[0]):
            raise DataError("The first window of the texts has no documents to train on.")
        self.first: TokenShards = parts[0]
        self.held_out: TokenShards = parts[1]
        weights = "" if set(self.split.weights) == {1.0} else f"/{list(self.split.weights)}"
        on_hub = "".join(f"/{extent.content}" for extent in self._extents if extent.content)
        size = f"{sum(extent.bytes for extent in self._extents):.0f}{on_hub}"
        self.fingerprint = f"stream/{window}/{record.content}/{size}/{seed}/{eval_fraction}{weights}"

    def close(self) -> None:
        """End the process that tokenises; windows that are there stay."""
        self._ahead.close()
        self._in_use.close()

    def wait_for(self, number: int) -> None:
        """Return when a window is there."""
        with disk_errors_explained(self.folder.directory):
            self._in_use.begin(number)
        self._ahead.wait_for(number)

    def passed(self, number: int) -> None:
        """Note that training has come to a window, and remove windows that the budget has no room for."""
        self._in_use.come_to(number)
        self.folder.make_room(self._budget, current=number, ahead=self._num_ahead, used=self._in_use.of_all)

    def texts(self, number: int) -> int:
        """Return the number of texts before a window whose predecessor is recorded."""
        before = self.folder.record(number - 1) if number else None
        last = 0 if before is None else sum(counts.texts for counts in before.counts)
        return max(0, number - 1) * self.window + last

    def share(self, number: int) -> float:
        """Return the share of the texts, by bytes, up to the end of a window; 1 for the last window."""
        record = self.folder.record(number)
        if record is None or record.last:
            return 1.0
        read = sum(
            extent.bytes * extent.share(Place(*entry))
            for extent, entry in zip(self._extents, record.end, strict=True)
        )
        return min(1.0, max(1e-6, read / max(1.0, sum(extent.bytes for extent in self._extents))))
