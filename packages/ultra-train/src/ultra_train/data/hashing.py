"""Counter-based random numbers: every number is a pure function of the integers that identify it.

There is no generator with a state. So the order of an epoch and the mask of a document can be computed at any
step, on any machine and with any version of NumPy, from (seed, epoch, index) alone.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def splitmix64(counter: Hashes) -> Hashes:
    """Return 64 well-mixed bits for each counter (SplitMix64: Steele, Lea and Flood, OOPSLA 2014)."""
    z = counter + _INCREMENT
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


def combine(key: int | Hashes, value: int | NDArray[np.integer]) -> Hashes:
    """Return hashes of (key, value), element by element; nest calls for more than two integers."""
    return splitmix64(splitmix64(_as_uint64(key)) ^ _as_uint64(value))


def uniform(hashes: Hashes) -> NDArray[np.float64]:
    """Return the upper 53 bits of each hash as a number in [0, 1)."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


def text_hash(text: str) -> int:
    """Return a 64-bit hash of a text that is the same on every machine."""
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


def _as_uint64(value: int | NDArray[np.integer]) -> Hashes:
    if isinstance(value, int):
        return np.array([value & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64)
    return np.asarray(value).astype(np.uint64, copy=False)
