"""Counting repeated texts in bounded memory."""

from __future__ import annotations

import numpy as np

from ultra_train.data.hashing import Hashes


class Duplicates:
    """Counts the texts whose 64-bit hash occurred before.

    The count is exact up to ``limit`` distinct texts (with probability below ``limit**2 / 2**65`` that two of
    them have the same hash). Beyond that, only hashes with leading zero bits are stored, one bit more
    whenever there are too many, and the number of distinct texts is estimated from them with an error of
    about ``1.4 / sqrt(limit)``, which is 0.04 % by default.

    Args:
        limit: greatest number of hashes that are stored. Each takes 8 bytes, and three times as much while
            hashes are added: 384 MiB by default.
    """

    def __init__(self, limit: int = 2**24) -> None:
        self._limit = limit
        self._stored: Hashes = np.empty(0, dtype=np.uint64)
        self._pending: list[Hashes] = []
        self._pending_count = 0
        self._zeros = 0
        self._texts = 0

    @property
    def exact(self) -> bool:
        """Whether ``count`` is exact."""
        return self._zeros == 0

    @property
    def count(self) -> int:
        """Number of texts that occurred before."""
        self._merge()
        return max(0, self._texts - (len(self._stored) << self._zeros))

    def add(self, hashes: Hashes) -> None:
        """Add the hashes of texts: (n,) uint64."""
        self._texts += len(hashes)
        self._pending.append(self._sampled(hashes))
        self._pending_count += len(self._pending[-1])
        if self._pending_count >= max(len(self._stored), min(2**16, self._limit)):
            self._merge()

    def _merge(self) -> None:
        if not self._pending:
            return
        new = np.sort(np.concatenate(self._pending))
        self._pending, self._pending_count = [], 0
        both = np.sort(np.concatenate([self._stored, new]), kind="stable")  # merges two sorted parts
        self._stored = both[np.concatenate([[True], both[1:] != both[:-1]])] if len(both) else both
        while len(self._stored) > self._limit:
            self._zeros += 1
            self._stored = self._sampled(self._stored)

    def _sampled(self, hashes: Hashes) -> Hashes:
        return hashes[hashes >> np.uint64(64 - self._zeros) == 0] if self._zeros else hashes
