"""How many texts were read before, in bounded memory."""

from __future__ import annotations

import numpy as np

from ultra_train.data.hashing import Hashes


class Duplicates:
    """Counts the texts whose 64-bit hash was seen before.

    The count is exact up to `limit` different texts (two of which are taken for the same with a probability
    below ``limit**2 / 2**65``). Beyond, only hashes with leading zero bits are kept, one bit more whenever
    there are too many, and the number of different texts is estimated from them: within about
    ``1.4 / sqrt(limit)`` of it, which is 0.04 % by default.

    Args:
        limit: Most hashes that are kept. They take 8 bytes each, and adding to them three times as much for a
            moment: 384 MiB by default.
    """

    def __init__(self, limit: int = 2**24) -> None:
        self._limit = limit
        self._kept: Hashes = np.empty(0, dtype=np.uint64)
        self._waiting: list[Hashes] = []
        self._waiting_count = 0
        self._zeros = 0
        self._texts = 0

    @property
    def exact(self) -> bool:
        """Whether `count` is exact."""
        return self._zeros == 0

    @property
    def count(self) -> int:
        """Texts that were there before."""
        self._merge()
        return max(0, self._texts - (len(self._kept) << self._zeros))

    def add(self, hashes: Hashes) -> None:
        """Take the hashes of some texts: (n,) uint64."""
        self._texts += len(hashes)
        self._waiting.append(self._sampled(hashes))
        self._waiting_count += len(self._waiting[-1])
        if self._waiting_count >= max(len(self._kept), min(2**16, self._limit)):
            self._merge()

    def _merge(self) -> None:
        if not self._waiting:
            return
        new = np.sort(np.concatenate(self._waiting))
        self._waiting, self._waiting_count = [], 0
        both = np.sort(np.concatenate([self._kept, new]), kind="stable")  # merges what is sorted already
        self._kept = both[np.concatenate([[True], both[1:] != both[:-1]])] if len(both) else both
        while len(self._kept) > self._limit:
            self._zeros += 1
            self._kept = self._sampled(self._kept)

    def _sampled(self, hashes: Hashes) -> Hashes:
        return hashes[hashes >> np.uint64(64 - self._zeros) == 0] if self._zeros else hashes
