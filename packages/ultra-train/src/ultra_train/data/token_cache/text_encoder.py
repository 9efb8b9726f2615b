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
from ultra_train.system.signals import ignore_interrupts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ultra_train.data.sources.texts import Record


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

    A text longer than ``max_length`` becomes several documents without overlap, each with its own special
    tokens. Nothing is lost, and no document attends to another. They are in the same group.

    Args:
        tokenizer: a tokenizer of transformers; a fast one is much faster.
        max_length: greatest number of tokens in a document, special tokens included.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
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
            split += len(ids) > self.window
            for begin in range(0, len(ids), self.window):
                pieces.append(self.prefix + ids[begin : begin + self.window] + self.suffix)
                groups.append(group)
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


def encode_all(
    records: Iterable[Record], encoder: TextEncoder, *, num_workers: int, chunk_size: int
) -> Iterator[EncodedTexts]:
    """Yield the encoded texts, one chunk after the other, in the order of the texts.

    At most ``2 * num_workers`` chunks are in flight, so memory is bounded whatever the size of the corpus.
    With one worker or a single chunk, everything happens in this process.

    Raises:
        DataError: a worker process was killed, usually for lack of memory.
    """
    chunks = _chunks(records, chunk_size)
    first = next(chunks, None)
    second = next(chunks, None)
    if first is None:
        return
    if num_workers <= 1 or second is None:
        for chunk in chain([first], [second] if second is not None else [], chunks):
            yield encoder(chunk)
        return
    method = "fork" if sys.platform == "linux" else "spawn"
    context = multiprocessing.get_context(method)
    arguments = (encoder, os.getpid())
    with (
        ProcessPoolExecutor(num_workers, context, _start_worker, arguments) as pool,
        warnings.catch_warnings(),
    ):
        # The children only tokenise, and use none of the threads that a fork does not copy.
        warnings.simplefilter("ignore", DeprecationWarning)
        waiting: deque[Future[EncodedTexts]] = deque()
        try:
            for chunk in (first, second):
                waiting.append(pool.submit(_encode, chunk))
            for chunk in chunks:
                waiting.append(pool.submit(_encode, chunk))
                if len(waiting) >= 2 * num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise DataError(
                "A process that tokenises was killed, usually because memory ran out; use fewer processes "
                "(training.num_workers) or smaller chunks (training.dataset_batch_size)."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _chunks(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    iterator = iter(records)
    while chunk := list(islice(iterator, size)):
        yield chunk


_encoder: TextEncoder | None = None


def _start_worker(encoder: TextEncoder, parent: int) -> None:
    global _encoder
    ignore_interrupts()  # the parent handles signals to the whole group, and ends its workers
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _encoder = encoder
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()


def _exit_with_parent(parent: int) -> None:
    """End this process when its parent was killed; it would wait for work without end."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _encode(chunk: list[Record]) -> EncodedTexts:
    assert _encoder is not None
    return _encoder(chunk)
