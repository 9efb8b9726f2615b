"""Joining the texts of a corpus to documents of one length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from ultra_train.data.hashing import combine, uniform
from ultra_train.data.token_cache.text_encoder import EncodedTexts


@attrs.frozen
class Joining:
    """How texts are joined.

    Attributes:
        length: number of tokens in a document, special tokens included.
        shortest: number of tokens of text that the last, shorter document must have to be kept.
        eval_fraction: share of the texts that is held out for evaluation; held-out texts are joined with each
            other only, so that no text is in both parts.
        seed: seed of the choice of held-out texts.
    """

    length: int
    shortest: int
    eval_fraction: float
    seed: int


class Joiner:
    """Joins texts, in their order, to documents of exactly ``joining.length`` tokens.

    A document begins where the one before ended, in the middle of a text if need be, and its tokens attend to
    each other across the texts. It is in the group of its first token's text.

    Args:
        joining: how texts are joined.
        prefix: special tokens at the beginning of a document.
        suffix: special tokens at its end.
    """

    def __init__(self, joining: Joining, prefix: Sequence[int], suffix: Sequence[int]) -> None:
        self._joining = joining
        self._room = joining.length - len(prefix) - len(suffix)
        self._ends = np.array(prefix, dtype=np.int32), np.array(suffix, dtype=np.int32)
        self._rest = {side: _Rest() for side in (False, True)}

    def join(self, encoded: EncodedTexts) -> EncodedTexts:
        """Return the documents that are complete with these whole texts."""
        held_out = uniform(combine(self._joining.seed, encoded.groups)) < self._joining.eval_fraction
        found = []
        for side, rest in self._rest.items():
            here = held_out == side
            rest.add(
                encoded.tokens[np.repeat(here, encoded.lengths)], encoded.lengths[here], encoded.groups[here]
            )
            found.append(self._cut(rest, len(rest.tokens) // self._room, self._room))
        return _concatenated(found)._replace(texts=encoded.texts, without_tokens=encoded.without_tokens)

    def remainder(self) -> Iterator[EncodedTexts]:
        """Yield the last documents, which are shorter, where they are long enough to be kept."""
        for rest in self._rest.values():
            if len(rest.tokens) >= max(1, self._joining.shortest):
                yield self._cut(rest, 1, len(rest.tokens))

    def _cut(self, rest: _Rest, count: int, size: int) -> EncodedTexts:
        """Take ``count`` documents with ``size`` tokens of text each."""
        text, groups = rest.take(count, size)
        prefix, suffix = (np.broadcast_to(end, (count, len(end))) for end in self._ends)
        tokens = np.concatenate([prefix, text.reshape(count, size), suffix], axis=1)
        lengths = np.full(count, tokens.shape[1], dtype=np.int64)
        return EncodedTexts(tokens.reshape(-1), lengths, groups, np.empty(0, dtype=np.uint64), 0, 0)


class _Rest:
    """The tokens that are in no document yet, and the group of each."""

    def __init__(self) -> None:
        self.tokens: NDArray[np.int32] = np.empty(0, dtype=np.int32)
        self.groups: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)

    def add(self, tokens: NDArray[np.int32], lengths: NDArray[np.int64], groups: NDArray[np.uint64]) -> None:
        self.tokens = np.concatenate([self.tokens, tokens])
        self.groups = np.concatenate([self.groups, np.repeat(groups, lengths)])

    def take(self, count: int, size: int) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
        end = count * size
        taken, groups = self.tokens[:end], self.groups[:end:size]
        self.tokens, self.groups = self.tokens[end:], self.groups[end:]
        return taken, groups


def _concatenated(parts: Sequence[EncodedTexts]) -> EncodedTexts:
    tokens, lengths, groups, texts = (np.concatenate([part[i] for part in parts]) for i in range(4))
    return EncodedTexts(tokens, lengths, groups, texts, 0, 0)
