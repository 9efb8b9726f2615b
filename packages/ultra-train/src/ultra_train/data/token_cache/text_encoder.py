"""Tokenising texts, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultra_train.data.errors import DataError
from ultra_train.data.hashing import text_hash
from ultra_train.data.sources.texts import Record
from ultra_train.system.signals import ignore_interrupts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class EncodedTexts(NamedTuple):
    """The documents of a chunk of texts.

    Attributes:
        tokens: (tokens,) the tokens of all documents, concatenated.
        lengths: (documents,) number of tokens of each.
        groups: (documents,) hash of the group that is held out for evaluation together.
        texts: (texts,) hash of each text, including those without tokens.
        without_tokens: number of texts without tokens.
        split: number of texts that became several documents.
    """

    tokens: NDArray[np.int32]
    lengths: NDArray[np.int64]
    groups: NDArray[np.uint64]
    texts: NDArray[np.uint64]
    without_tokens: int
    split: int


class TextEncoder:
    """Tokenises texts and cuts them into documents of at most ``max_length`` tokens.

    A text longer than ``max_length`` becomes several documents, each with its own special tokens. Nothing is
    lost, and no document attends to another. They are in the same group.

    Args:
        tokenizer: a tokenizer of transformers; a fast one is much faster.
        max_length: greatest number of tokens in a document, special tokens included.
        overlap: number of tokens at the beginning of a further document of a text that are also the end of
            the one before.
        uncut: whether texts are left whole and without special tokens, for ``Joiner``.

    Raises:
        DataError: ``max_length`` leaves no room for text, or ``overlap`` leaves none for new tokens.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_length: int, *, overlap: int = 0, uncut: bool = False
    ) -> None:
        # The tokenizer's settings for truncation and padding must neither act here nor be changed.
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._fast = None if backend is None else type(backend).from_str(backend.to_str())
        self._slow = tokenizer if backend is None else None
        if self._fast is not None:
            self._fast.no_truncation()
            self._fast.no_padding()
        inner = self._ids(["a"])[0]
        whole = list(tokenizer("a", add_special_tokens=True)["input_ids"])
        start = next((i for i in range(len(whole)) if whole[i : i + len(inner)] == inner), 0)
        self.prefix, self.suffix = whole[:start], whole[start + len(inner) :]
        self.window = max_length - len(self.prefix) - len(self.suffix)
        if self.window < 1:
            raise DataError(
                f"max_length is {max_length}, but the special tokens alone take {max_length - self.window}; "
                f"it must be at least {max_length - self.window + 1}."
            )
        if not 0 <= overlap < self.window:
            raise DataError(
                f"overlap_tokens is {overlap}, but a document of max_length {max_length} has room for "
                f"{self.window} tokens of a text; it must be below that."
            )
        self.overlap, self.uncut = overlap, uncut

    def __call__(self, records: list[Record]) -> EncodedTexts:
        """Return the documents of the texts, in order; texts without tokens are left out."""
        pieces: list[list[int]] = []
        groups: list[int] = []
        texts: list[int] = []
        without_tokens = split = 0
        for record, ids in zip(records, self._ids([record.text for record in records]), strict=True):
            texts.append(text_hash(record.text))
            group = texts[-1] if record.group is None else text_hash(record.group)
            without_tokens += not ids
            if 0 < len(ids) <= self.window and not self.uncut:  # most texts
                pieces.append([*self.prefix, *ids, *self.suffix])
                groups.append(group)
                continue
            if self.uncut:
                parts = [ids] if ids else []
            else:
                begins = range(0, max(min(1, len(ids)), len(ids) - self.overlap), self.window - self.overlap)
                parts = [self.prefix + ids[begin : begin + self.window] + self.suffix for begin in begins]
                split += len(parts) > 1
            pieces += parts
            groups += [group] * len(parts)
        lengths = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
        tokens = np.fromiter(chain.from_iterable(pieces), dtype=np.int32, count=int(lengths.sum()))
        hashes = np.array(groups, dtype=np.uint64), np.array(texts, dtype=np.uint64)
        return EncodedTexts(tokens, lengths, *hashes, without_tokens, split)

    def _ids(self, texts: list[str]) -> list[list[int]]:
        if self._fast is not None:
            return [
                encoding.ids for encoding in self._fast.encode_batch_fast(texts, add_special_tokens=False)
            ]
        assert self._slow is not None
        return [self._slow(text, add_special_tokens=False, verbose=False)["input_ids"] for text in texts]


class EncoderPool:
    """Processes that tokenise; a context manager, which starts them when they are first needed.

    Args:
        encoder: tokenises a chunk of texts.
        num_workers: number of processes; with 0 or 1, everything happens in this process.
    """

    def __init__(self, encoder: TextEncoder, num_workers: int) -> None:
        self._encoder, self._num_workers = encoder, num_workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> EncoderPool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def encode_chunks(self, chunks: Iterable[list[Record]]) -> Iterator[EncodedTexts]:
        """Yield the encoded texts, one chunk after the other, in the order of the chunks.

        At most ``2 * num_workers`` chunks are in flight, so memory is bounded whatever the size of the
        corpus. A single chunk is encoded in this process.

        Raises:
            DataError: a process was killed, usually for lack of memory.
        """
        chunks = iter(chunks)
        first = list(islice(chunks, 2 if self._num_workers > 1 else 0))
        if len(first) < 2:
            yield from map(self._encoder, chain(first, chunks))
            return
        waiting: deque[Future[EncodedTexts]] = deque()
        try:
            pool = self._started()
            for chunk in chain(first, chunks):
                with warnings.catch_warnings():
                    # The children only tokenise, and use none of the threads that a fork does not copy.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    waiting.append(pool.submit(_encode, *_columns(chunk)))
                if len(waiting) >= 2 * self._num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise DataError(
                "A process that tokenises was killed, usually because memory ran out; use fewer processes "
                "(training.num_workers) or smaller chunks (training.dataset_batch_size)."
            ) from error
        finally:
            for future in waiting:
                future.cancel()

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
            arguments = (self._encoder, os.getpid())
            self._pool = ProcessPoolExecutor(self._num_workers, context, _start_worker, arguments)
        return self._pool


def in_chunks(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    """Yield lists of ``size`` records; the last one may be shorter."""
    iterator = iter(records)
    while chunk := list(islice(iterator, size)):
        yield chunk


_encoder: TextEncoder | None = None


def _start_worker(encoder: TextEncoder, parent: int) -> None:
    global _encoder
    ignore_interrupts()  # the parent handles signals to the whole group, and ends its workers
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _encoder = encoder
    threading.Thread(target=exit_with_parent, args=(parent,), daemon=True).start()


def exit_with_parent(parent: int) -> None:
    """End this process when its parent was killed; it would wait for work without end."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _columns(chunk: list[Record]) -> tuple[list[str], list[str | None]]:
    """Return texts and groups apart, which are pickled several times as fast as records."""
    return [record.text for record in chunk], [record.group for record in chunk]


def _encode(texts: list[str], groups: list[str | None]) -> EncodedTexts:
    assert _encoder is not None
    return _encoder(list(map(Record, texts, groups)))
