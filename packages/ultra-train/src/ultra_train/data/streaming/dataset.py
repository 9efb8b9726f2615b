"""A stream of masked batches as a data set of torch, for training loops of one's own."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.utils.data import IterableDataset, get_worker_info

from ultra_train.data.batches.batch_plan import Mode
from ultra_train.data.batches.masking import MLMCollator
from ultra_train.data.cache import Notify
from ultra_train.data.errors import DataError
from ultra_train.data.sources.data_source import SourceSpec, read_sources
from ultra_train.data.sources.row_checker import OnBadRows
from ultra_train.data.streaming.loader import StreamLoader
from ultra_train.data.streaming.plan import StreamPlan
from ultra_train.data.streaming.stream import WindowStream
from ultra_train.data.token_cache.cutting import Cutting
from ultra_train.system.processes import Processes, processes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MOST_WORKERS = 1024
_log = logging.getLogger(__name__)


class StreamingMLMDataset(IterableDataset[dict[str, torch.Tensor]]):
    """Masked batches of a corpus that is tokenised while they are used, in windows under a byte budget.

    Iterating yields the rest of the epoch; the next iteration yields the next epoch. Order and masks are
    functions of (seed, epoch, window, index), so a state is two integers, and ``load_state_dict`` reads
    nothing before it but the beginning of one window. It has batches already: use
    ``DataLoader(data, batch_size=None)``.

    Under a launcher every process gets other batches, and so does every worker of a ``DataLoader``. Only the
    workers know their positions then: ``StatefulDataLoader`` of torchdata asks them, and the ``state_dict``
    of this object is an error once they have begun.

    Args:
        sources: files, folders, globs, data sets; see ``dataset`` in a preset.
        tokenizer: a tokenizer of transformers with a mask token and a padding token.
        max_length: greatest number of tokens in a document, special tokens included.
        batch_size: rows of ``max_length`` tokens that a batch corresponds to; None yields single documents.
        mlm_probability: probability that a token is predicted.
        policy: ``"token"`` masks single tokens, ``"whole_word"`` all tokens of a word.
        batching: rows of one document and like length, or several documents in a row.
        seed: seed of the order and of the masks.
        cache_dir: folder of the windows.
        window: number of texts in a window, within which documents are shuffled.
        budget_gb: disk space that the windows may take (GB).
        num_workers: number of processes that tokenise ahead; with 0, and in a worker of a ``DataLoader``,
            windows are tokenised when they are needed.
        eval_fraction: share of the texts that is in no batch.
        overlap: number of tokens that the parts of a long text have in common.
        on_bad_rows: whether a row that cannot be used is an error, or is skipped and counted.
        here: the place of this process; that of the launcher by default.
        say: is called with notices.

    Raises:
        DataError: a source cannot be used, also when iterating, or an argument is out of its range.
    """

    def __init__(
        self,
        sources: SourceSpec,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int = 512,
        batch_size: int | None = 8,
        mlm_probability: float = 0.15,
        policy: Literal["token", "whole_word"] = "token",
        batching: Mode = "length",
        seed: int = 42,
        cache_dir: str | Path = "./temp_data/v2_dataset_cache",
        window: int = 50_000,
        budget_gb: float = 50.0,
        num_workers: int = 0,
        eval_fraction: float = 0.0,
        overlap: int = 0,
        on_bad_rows: OnBadRows = "error",
        here: Processes | None = None,
        say: Notify = _log.warning,
    ) -> None:
        for name, value, least in (
            ("window", window, 1),
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("budget_gb", budget_gb, 0),
        ):
            if value is not None and value < least:
                raise DataError(f"{name} is {value}, but it must be at least {least}.")
        if not 0 <= eval_fraction < 1:
            raise DataError(f"eval_fraction is {eval_fraction}, but it must be at least 0 and below 1.")
        self.sources, self.tokenizer = read_sources(sources), tokenizer
        self._here = here or processes()
        self._num_workers = num_workers
        self._stream: dict[str, Any] = {
            "cutting": Cutting(max_length=max_length, overlap=overlap),
            "cache_dir": cache_dir,
            "window": window,
            "eval_fraction": eval_fraction,
            "seed": seed,
            "budget": int(budget_gb * 1e9),
            "on_bad_rows": on_bad_rows,
            "say": say,
        }
        self._plan: dict[str, Any] = {
            "batch_size": batch_size or 1,
            "max_length": max_length,
            "seed": seed,
            "mode": batching,
            "tokens_per_batch": None if batch_size else 1,
        }
        self._masking: dict[str, Any] = {"mlm_probability": mlm_probability, "policy": policy, "seed": seed}
        self._state: Mapping[str, Any] = {"epoch": 0, "index": 0}
        # (workers,) the epoch that the next worker of a number begins with, or -1
        self._next_epoch = torch.full((_MOST_WORKERS,), -1).share_memory_()
        self._opened: StreamLoader | None = None
        self._opened_in = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_state": self._position(), "_opened": None}

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """Yield the batches of this process, and of this worker, in the rest of the epoch.

        Raises:
            DataError: a source cannot be used, or there are too many workers.
        """
        worker = get_worker_info()
        workers, number = (1, 0) if worker is None else (worker.num_workers, worker.id)
        if workers > _MOST_WORKERS:
            raise DataError(f"There are {workers} workers; use at most {_MOST_WORKERS}.")
        self._forget_that_of_parent()
        if worker is not None and self._opened is None and (epoch := int(self._next_epoch[number])) >= 0:
            self._state = {**self._state, "epoch": epoch, "index": 0}
        loader = self._loader(tokenises_ahead=worker is None)
        if worker is not None:
            self._next_epoch[number] = loader.epoch + 1
        # batches r, r + R, ... are those of process r of R; of these, worker w of W has w, w + W, ...
        every, own = self._here.count * workers, self._here.rank + self._here.count * number
        for batch in loader.select(lambda at: at[1] % every == own):
            if batch is not None:
                yield batch if self._plan["tokens_per_batch"] is None else {k: v[0] for k, v in batch.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return epoch and index of the next batch, and what identifies the data once it was opened.

        Raises:
            DataError: workers of a ``DataLoader`` have the batches, and this is not one of them.
        """
        if get_worker_info() is None and int(self._next_epoch.max()) >= 0:
            raise DataError(
                "The workers of a DataLoader read this data, and their positions are not known here: take "
                "the state of a StatefulDataLoader of torchdata instead, or use num_workers=0 in the "
                "DataLoader and num_workers here."
            )
        return self._position()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Move to a position.

        Raises:
            DataError: the state belongs to other data or another seed, or is damaged; when the data is not
                open yet, iterating raises it.
        """
        self._forget_that_of_parent()
        self._state = dict(state)
        worker = get_worker_info()
        self._next_epoch[slice(None) if worker is None else worker.id] = -1
        if self._opened is not None:
            self._opened.load_state_dict(state)

    def _forget_that_of_parent(self) -> None:
        """Keep only the position of a stream that the process had opened of which this one is a fork."""
        if self._opened is not None and self._opened_in != os.getpid():
            self._state, self._opened = self._position(), None

    def _position(self) -> dict[str, Any]:
        return dict(self._state) if self._opened is None else self._opened.state_dict()

    def _loader(self, *, tokenises_ahead: bool) -> StreamLoader:
        if self._opened is None:
            stream = WindowStream(
                self.sources,
                self.tokenizer,
                num_workers=self._num_workers if tokenises_ahead else 0,
                processes=self._here.count,
                **self._stream,
            )
            collator = MLMCollator(stream.first, self.tokenizer, **self._masking)
            loader = StreamLoader(stream, StreamPlan(stream.folder, stream.split, **self._plan), collator)
            loader.load_state_dict(self._state)
            self._opened, self._opened_in = loader, os.getpid()
        return self._opened
