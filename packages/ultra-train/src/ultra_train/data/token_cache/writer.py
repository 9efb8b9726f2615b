"""Writing the token shards and the manifest of a build."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from ultra_train.data.cache import Notify
from ultra_train.data.errors import DataError
from ultra_train.data.sources.row_checker import SourceCounts
from ultra_train.data.token_cache.cache_folders import disk_errors_explained, make_way
from ultra_train.data.token_cache.duplicates import Duplicates
from ultra_train.data.token_cache.manifest import (
    MANIFEST,
    SHARD,
    DamagedBuild,
    Manifest,
    Shard,
    check,
    checksum,
)
from ultra_train.data.token_cache.text_encoder import EncodedTexts
from ultra_train.system import files
from ultra_train.system.disk_space import DiskSpace

_TOKENS_A_SHARD = 16_000_000


class ShardWriter:
    """Writes a build into an empty folder.

    Args:
        folder: the empty folder.
        num_token_ids: number of token ids, which determines the bytes per token.
        disk: waits for room on a full disk; without it, a full disk is an error.

    Attributes:
        texts: number of texts so far.
        documents: number of documents so far.
        tokens: number of their tokens.
    """

    def __init__(self, folder: Path, num_token_ids: int, disk: DiskSpace | None = None) -> None:
        self.texts = self.documents = self.tokens = 0
        self._folder, self._disk = folder, disk
        self._dtype = np.uint16 if num_token_ids <= 2**16 else np.uint32
        self._shards: list[Shard] = []
        self._counts: list[SourceCounts] = []
        self._content = hashlib.sha256()
        self._duplicates = Duplicates()
        self._pending: list[EncodedTexts] = []
        self._pending_tokens = 0

    def begin_source(self, counts: SourceCounts) -> None:
        """Count the texts that follow for another source."""
        self._end_source()
        self._counts.append(counts)

    def append(self, encoded: EncodedTexts) -> None:
        """Add the documents of a chunk of texts."""
        counts = self._counts[-1]
        counts.documents += len(encoded.lengths)
        counts.tokens += len(encoded.tokens)
        counts.without_tokens += encoded.without_tokens
        counts.split += encoded.split
        self._duplicates.add(encoded.texts)
        self.texts += len(encoded.texts)
        self.documents += len(encoded.lengths)
        self.tokens += len(encoded.tokens)
        self._pending.append(encoded)
        self._pending_tokens += len(encoded.tokens)
        if self._pending_tokens >= _TOKENS_A_SHARD:
            self._flush()

    def finish(self, about: Mapping[str, Any]) -> Manifest:
        """Write the remaining documents and the manifest, and return the manifest.

        Raises:
            DataError: there are no documents, or the disk is full.
        """
        if not self.documents:
            raise DataError("The sources have no usable text: the tokenizer makes no tokens of any text.")
        self._end_source()
        self._flush()
        manifest = Manifest(
            about,
            about["max_length"],
            self._content.hexdigest()[:20],
            tuple(self._shards),
            tuple(self._counts),
        )
        text = manifest.to_json().encode()
        self._write(self._folder / MANIFEST, lambda stream: stream.write(text), len(text))
        return manifest

    def _end_source(self) -> None:
        if self._counts:
            before = sum(counts.repeated for counts in self._counts[:-1])
            self._counts[-1].repeated = max(0, self._duplicates.count - before)
            self._counts[-1].repeated_exactly = self._duplicates.exact

    def _flush(self) -> None:
        if not self._pending:
            return
        lengths = np.concatenate([encoded.lengths for encoded in self._pending])
        values = np.concatenate([encoded.tokens for encoded in self._pending]).astype(self._dtype)
        groups = np.concatenate([encoded.groups for encoded in self._pending])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        kind = pa.from_numpy_dtype(self._dtype)
        tokens = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values, kind))
        batch = pa.record_batch({"tokens": tokens, "group": pa.array(groups)})
        for part in (lengths, values, groups):
            self._content.update(np.ascontiguousarray(part).data)
        path = self._folder / SHARD.format(len(self._shards))

        def write(stream: BinaryIO) -> None:
            with pa.ipc.new_file(stream, batch.schema) as arrow:
                arrow.write_batch(batch)

        size = self._write(path, write, batch.nbytes)
        self._shards.append(Shard(path.name, len(lengths), size, checksum(path)))
        self._pending, self._pending_tokens = [], 0

    def _write(self, path: Path, write: Callable[[BinaryIO], object], need: int) -> int:
        """Write a new file completely or not at all, and return its size."""

        def attempt() -> int:
            try:
                with path.open("xb") as stream:
                    write(stream)
                    stream.flush()
                    os.fsync(stream.fileno())
                    return os.fstat(stream.fileno()).st_size
            except OSError:
                path.unlink(missing_ok=True)
                raise

        with disk_errors_explained(self._folder.parent):
            if self._disk is None:
                return attempt()
            return self._disk.write(attempt, "tokenised texts", self._folder.parent, need)


def put_in_place(folder: Path, manifest: Manifest, directory: Path, notify: Notify) -> Manifest:
    """Rename a finished build to ``directory``, and return the manifest of the build that is there then.

    A damaged build is removed first. If another process was faster and its build is intact, that one is used;
    its files are the same.
    """
    there: list[Manifest] = []

    def is_intact() -> bool:
        try:
            there.append(check(directory))
        except DamagedBuild:
            return False
        return True

    with disk_errors_explained(directory.parent):
        ours = files.put_in_place(folder, directory, is_intact, lambda: make_way(directory, notify))
    return manifest if ours else there[0]
