"""Tokenised text in memory-mapped Arrow files: opened in milliseconds, shared between processes, never read
whole.

A build is a folder ``<cache_dir>/tokens-<key>/`` with ``shard-00000.arrow``, ... and ``manifest.json``. Each
shard is one Arrow record batch with a row a document: ``tokens`` (list of uint16 or uint32, special tokens
included) and ``group`` (uint64, what is held out for evaluation together). The manifest is written last and
names the size and checksum of every shard, so a folder that is not whole is never taken for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ultra_train.data.hashing import combine, uniform
from ultra_train.data.sources.row_checker import SourceCounts
from ultra_train.data.token_cache.manifest import Manifest, read_column, read_manifest


class TokenShards:
    """Documents of a build as arrays of token ids.

    Attributes:
        directory: the folder of the build.
        fingerprint: identifies the documents and their order.
        lengths: (documents,) int32, number of tokens of each document, special tokens included.
        weights: (documents,) float64, how often an epoch shows each document; None when every weight is 1.
        max_length: greatest length of a document that the build allows.
        counts: the counts of each source when it was built.
    """

    def __init__(
        self, directory: Path, selection: NDArray[np.int64], fingerprint: str, weights: Sequence[float]
    ):
        manifest = read_manifest(directory)
        self.directory = directory
        self.fingerprint = fingerprint
        self.max_length = manifest.max_length
        self.counts: tuple[SourceCounts, ...] = manifest.counts
        self._arguments = (directory, selection, fingerprint, weights)
        self._selection = selection
        self._tokens: list[NDArray[np.unsignedinteger]] = []
        self._starts: list[NDArray[np.int64]] = []
        self._first = np.cumsum([0] + [shard.documents for shard in manifest.shards])
        for shard in manifest.shards:
            column = read_column(directory / shard.file, "tokens")
            self._tokens.append(column.values.to_numpy())
            self._starts.append(column.offsets.to_numpy())
        everything = np.concatenate([np.diff(starts) for starts in self._starts]).astype(np.int32)
        self.lengths: NDArray[np.int32] = everything[selection]
        self.weights: NDArray[np.float64] | None = None
        if any(weight != 1 for weight in weights):
            documents = [counts.documents for counts in manifest.counts]
            per_source = np.repeat(np.asarray(weights, dtype=np.float64), documents)
            self.weights = per_source[selection]

    def __reduce__(self) -> tuple[object, ...]:
        return (
            TokenShards,
            self._arguments,
        )  # other processes map the files again instead of copying their content

    def __len__(self) -> int:
        return len(self._selection)

    @property
    def num_tokens(self) -> int:
        """Number of tokens of all documents, special tokens included."""
        return int(self.lengths.sum(dtype=np.int64))

    def document(self, index: int) -> NDArray[np.int64]:
        """Return the token ids of one document, special tokens included: (length,) int64."""
        if not 0 <= index < len(self):
            raise IndexError(f"document {index} of {len(self)}")
        return self.gather(np.array([index]))[0]

    def gather(self, indices: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the concatenated tokens of several documents, and their lengths.

        Args:
            indices: (n,) integers below ``len(self)``, in any order, with repetitions.

        Returns:
            (sum of lengths,) int64 and (n,) int32.
        """
        lengths = self.lengths[indices]
        chosen = self._selection[indices]
        shard_of = np.searchsorted(self._first, chosen, side="right") - 1
        ends = np.cumsum(lengths)
        flat = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.int64)
        steps = np.arange(len(flat)) - np.repeat(ends - lengths, lengths)
        for shard in np.unique(shard_of):
            here = shard_of == shard
            begins = np.zeros(len(chosen), dtype=np.int64)
            begins[here] = self._starts[shard][chosen[here] - self._first[shard]]
            token_here = np.repeat(here, lengths)
            flat[token_here] = self._tokens[shard][(np.repeat(begins, lengths) + steps)[token_here]]
        return flat, lengths


def open_build(
    directory: Path,
    manifest: Manifest,
    *,
    eval_fraction: float,
    seed: int,
    weights: Sequence[float],
    force: bool = True,
) -> tuple[TokenShards, TokenShards]:
    """Open a build and split it into a training and an evaluation part.

    A group (a text, or a sentence template of an embedded data set) is in the evaluation part when the hash
    of (seed, group), as a number in [0, 1), is below ``eval_fraction``. So no text is in both parts, and the
    part of a text does not depend on the other texts. If a part would be empty and ``force`` is set, it gets
    the group with the smallest (largest) hash.
    """
    shards = [directory / shard.file for shard in manifest.shards]
    groups = np.concatenate([read_column(shard, "group").to_numpy() for shard in shards])
    draws = uniform(combine(seed, groups))
    held_out = draws < eval_fraction
    if force and eval_fraction > 0 and not held_out.any():
        held_out = draws == draws.min()
    if force and held_out.all():
        held_out = draws != draws.max()
    # By content, not by path: moving or touching files does not change the data.
    key = f"{manifest.content}/{seed}/{eval_fraction}"
    train, evaluation = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    return (
        TokenShards(directory, train, f"{key}/train/{list(weights)}", weights),
        TokenShards(directory, evaluation, f"{key}/eval", [1.0] * len(weights)),
    )
