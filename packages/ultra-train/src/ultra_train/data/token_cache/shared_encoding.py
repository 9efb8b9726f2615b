"""Tokenising one corpus with all processes of a run, on a folder that they share.

Every process reads all texts, which takes a fraction of the time, and tokenises the chunks that it claims.
One of them, the first to claim it, puts all chunks together in order; the others leave theirs in files.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ultra_train.data.token_cache.claims import Claims
from ultra_train.data.token_cache.text_encoder import EncodedTexts, EncoderPool, TextEncoder
from ultra_train.system import files

if TYPE_CHECKING:
    from ultra_train.data.sources.texts import Record

SHARED = ".tokens-*.shared-*"
"""The folders that the processes of a run share while they make a build."""

ASSEMBLY = "assembly"
"""The claim of the process that puts the chunks together."""

_NAME, _PROGRESS = "chunk-{:07d}", "assembled"
_LEFT = 16
"""Number of chunks of a process that may wait to be put together, besides those that it tokenises."""

_POLL = 0.02


class SharedEncoding:
    """The chunks of a corpus that all processes of a run tokenise together.

    Args:
        folder: a folder that all of them see, for this corpus and this size of chunks.
        claims: the claims of this process in that folder.
        encoder: tokenises a chunk; the same in all processes.
        num_workers: number of processes that this one starts for it.
    """

    def __init__(self, folder: Path, claims: Claims, encoder: TextEncoder, num_workers: int) -> None:
        self._folder, self._claims = folder, claims
        self._encoder, self._num_workers = encoder, num_workers
        self._progress = folder / _PROGRESS

    def assemble(self, chunks: Iterable[list[Record]]) -> Iterator[EncodedTexts]:
        """Yield all chunks in their order; those that no other process has claimed are tokenised here."""
        order: deque[tuple[int, list[Record] | None]] = deque()

        def own() -> Iterator[list[Record]]:
            for number, chunk in enumerate(chunks):
                mine = self._take(number)
                order.append((number, None if mine else chunk))
                if mine:
                    yield chunk

        with EncoderPool(self._encoder, self._num_workers) as pool:
            for encoded in pool.encode_chunks(own()):
                yield from self._of_others(order)
                number, _ = order.popleft()
                self._assembled(number)
                yield encoded
        yield from self._of_others(order)

    def help(self, chunks: Iterable[list[Record]], is_needed: Callable[[], bool]) -> None:
        """Tokenise the chunks that no other process has claimed, as long as they are needed."""
        order: deque[int] = deque()
        left: list[Path] = []

        def own() -> Iterator[list[Record]]:
            for number, chunk in enumerate(chunks):
                while sum(path.exists() for path in left) > _LEFT and is_needed():
                    time.sleep(_POLL)
                if not is_needed():
                    return
                if self._take(number):
                    order.append(number)
                    yield chunk

        with EncoderPool(self._encoder, self._num_workers) as pool:
            for encoded in pool.encode_chunks(own()):
                number = order.popleft()
                self._write(number, encoded)
                left = [path for path in left if path.exists()] + [self._file(number)]
                self._claims.release(_NAME.format(number))

    def _of_others(self, order: deque[tuple[int, list[Record] | None]]) -> Iterator[EncodedTexts]:
        """Yield the chunks at the front that others have claimed, as soon as they are there."""
        while order and (chunk := order[0][1]) is not None:
            number, _ = order.popleft()
            path, name = self._file(number), _NAME.format(number)
            while not path.exists() and not self._claims.take(name):
                time.sleep(_POLL)
            yield _read(path) if path.exists() else self._encoder(chunk)
            path.unlink(missing_ok=True)
            self._assembled(number)

    def _assembled(self, number: int) -> None:
        files.write_text(self._progress, str(number))  # before the claim ends, so that nobody claims it again
        self._claims.release(_NAME.format(number))

    def _is_assembled(self, number: int) -> bool:
        return self._progress.exists() and number <= int(self._progress.read_text())

    def _take(self, number: int) -> bool:
        """Claim a chunk, and return whether it is ours and still to be tokenised."""
        if not self._claims.take(name := _NAME.format(number)):
            return False
        if self._file(number).exists() or self._is_assembled(number):
            self._claims.release(name)
            return False
        return True

    def _file(self, number: int) -> Path:
        return self._folder / f"{_NAME.format(number)}.npz"

    def _write(self, number: int, encoded: EncodedTexts) -> None:
        with files.replacing(self._file(number)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **encoded._asdict())


def remove_shared(folder: Path) -> bool:
    """Remove what killed processes left in the folder of a build, and only files that are ours.

    Returns:
        whether the folder is gone.
    """
    for source in (*folder.glob("source-*"), folder):
        for pattern in ("chunk-*.npz", "*.claim", _PROGRESS):
            for path in source.glob(pattern):
                path.unlink(missing_ok=True)
        files.remove_empty(source)
    return not folder.exists()


def _read(path: Path) -> EncodedTexts:
    with np.load(path) as arrays:
        tokens, lengths, groups, texts, without_tokens, split = (arrays[n] for n in EncodedTexts._fields)
    return EncodedTexts(tokens, lengths, groups, texts, int(without_tokens), int(split))
