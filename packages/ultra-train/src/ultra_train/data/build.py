"""Tokenises sources once and keeps the result: `prepare` opens what an earlier run built, or builds it.

The key of a build is a hash of what the tokens depend on: the identity of every source, the tokenizer, the
maximal length, the limit on documents. Weights, seed and share of the evaluation part act when a build is
opened, so changing them tokenises nothing. A build is written into a folder of its own, synced, and renamed
when it is whole: a run that is killed leaves a folder that no later run takes for a build, and that the next
run of the same key removes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ultra_train.data.encode import Encoded, Encoder, encode_all
from ultra_train.data.errors import DataError
from ultra_train.data.shards import MANIFEST, TokenShards, is_whole, open_build
from ultra_train.data.sources import Record, Source, identity, records
from ultra_train.tokenizer import num_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FORMAT = 1
_TOKENS_A_SHARD = 16_000_000
Progress = Callable[[int, int], None]


def prepare(
    sources: Sequence[Source],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    cache_dir: str | Path,
    eval_fraction: float = 0.05,
    seed: int = 0,
    num_workers: int = 1,
    documents_per_chunk: int = 25_000,
    max_documents: int | None = None,
    progress: Progress | None = None,
) -> tuple[TokenShards, TokenShards]:
    """Return the training and the evaluation documents of the sources, tokenised, memory-mapped.

    Args:
        sources: What `sources.read_sources` returned.
        tokenizer: A tokenizer of transformers.
        max_length: Most tokens of a document, special ones included; longer texts become several documents.
        cache_dir: Where builds are kept.
        eval_fraction: Share of the texts (of the templates, in embedded sets) held out for evaluation; 0
            holds out none.
        seed: Which ones are held out.
        num_workers: Processes that tokenise.
        documents_per_chunk: Texts that a process takes at a time; bounds the memory.
        max_documents: Texts that are read at most, over all sources in their order; None reads all.
        progress: Called as ``progress(documents, tokens)`` after each chunk.

    Raises:
        DataError: A source cannot be used, `max_length` has no room for text, or the disk is full.
    """
    if not 0 <= eval_fraction < 1:
        raise DataError(f"eval_fraction is {eval_fraction}, but it must be at least 0 and below 1.")
    encoder = Encoder(tokenizer, max_length)
    about = {
        "format": _FORMAT,
        "sources": [identity(source) for source in sources],
        "tokenizer": tokenizer_hash(tokenizer),
        "max_length": max_length,
        "max_documents": max_documents,
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:20]
    directory = Path(cache_dir).expanduser() / f"tokens-{key}"
    if not is_whole(directory):
        writer = _Writer(directory, dtype=np.uint16 if num_ids(tokenizer) <= 2**16 else np.uint32)
        with writer:
            for source in sources:
                texts = islice(records(source, cache_dir=cache_dir), writer.room(max_documents))
                writer.begin_source()
                for encoded in encode_all(
                    writer.counted(texts), encoder, num_workers=num_workers, chunk_size=documents_per_chunk
                ):
                    writer.append(encoded)
                    if progress is not None:
                        progress(writer.documents, writer.tokens)
            writer.finish(about)
    weights = [source.weight for source in sources]
    return open_build(directory, eval_fraction=eval_fraction, seed=seed, weights=weights)


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a hash of everything that decides which tokens a text becomes."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        content = json.loads(backend.to_str())
        content.pop("truncation", None)
        content.pop("padding", None)
        text = json.dumps(content, sort_keys=True)
    else:
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
            text = "".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
    return hashlib.sha256(text.encode()).hexdigest()


class _Writer:
    """Writes a build into a folder beside its place; leaving the `with` block removes what is unfinished."""

    def __init__(self, directory: Path, dtype: type[np.unsignedinteger]) -> None:
        self.documents = 0
        self.tokens = 0
        self._texts = 0
        self._directory = directory
        self._type = pa.from_numpy_dtype(dtype)
        self._dtype = dtype
        self._shards: list[dict[str, object]] = []
        self._source_documents: list[int] = []
        self._content = hashlib.sha256()
        self._pending: list[Encoded] = []
        self._pending_tokens = 0

    def __enter__(self) -> _Writer:
        with _full_disk_explained(self._directory.parent):
            self._directory.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self._directory)
            self._partial = _partial_name(self._directory, os.getpid())
            shutil.rmtree(self._partial, ignore_errors=True)
            self._partial.mkdir()
        return self

    def __exit__(self, *raised: object) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)

    def room(self, max_documents: int | None) -> int | None:
        return None if max_documents is None else max(0, max_documents - self._texts)

    def counted(self, texts: Iterator[Record]) -> Iterator[Record]:
        for text in texts:
            self._texts += 1
            yield text

    def begin_source(self) -> None:
        self._source_documents.append(0)

    def append(self, encoded: Encoded) -> None:
        self.documents += len(encoded.lengths)
        self.tokens += len(encoded.tokens)
        self._source_documents[-1] += len(encoded.lengths)
        self._pending.append(encoded)
        self._pending_tokens += len(encoded.tokens)
        if self._pending_tokens >= _TOKENS_A_SHARD:
            self._flush()

    def finish(self, about: dict[str, object]) -> None:
        if not self.documents:
            raise DataError("The sources have no usable text: the tokenizer makes no token of any of them.")
        self._flush()
        manifest = {
            **about,
            "content": self._content.hexdigest()[:20],
            "shards": self._shards,
            "source_documents": self._source_documents,
        }
        with _full_disk_explained(self._directory.parent):
            with (self._partial / MANIFEST).open("w", encoding="utf-8") as stream:
                json.dump(manifest, stream, indent=1)
                stream.flush()
                os.fsync(stream.fileno())
            if self._directory.exists() and not is_whole(self._directory):
                shutil.rmtree(self._directory)
            try:
                self._partial.rename(self._directory)
            except OSError as error:
                # Another process finished the same build first; its files are the same as ours.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not is_whole(self._directory):
                    raise

    def _flush(self) -> None:
        if not self._pending:
            return
        lengths = np.concatenate([encoded.lengths for encoded in self._pending])
        values = np.concatenate([encoded.tokens for encoded in self._pending]).astype(self._dtype)
        groups = np.concatenate([encoded.groups for encoded in self._pending])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        tokens = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values, self._type))
        batch = pa.record_batch({"tokens": tokens, "group": pa.array(groups)})
        for part in (lengths, values, groups):
            self._content.update(np.ascontiguousarray(part).data)
        path = self._partial / f"shard-{len(self._shards):05d}.arrow"
        with _full_disk_explained(self._directory.parent), path.open("wb") as stream:
            with pa.ipc.new_file(stream, batch.schema) as arrow:
                arrow.write_batch(batch)
            stream.flush()
            os.fsync(stream.fileno())
        self._shards.append({"file": path.name, "documents": len(lengths), "bytes": path.stat().st_size})
        self._pending, self._pending_tokens = [], 0


class _full_disk_explained:
    """Turns the error of a full or unwritable disk into one that says what to do."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, OSError):
            return
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"{self._folder}: the disk is full; the unfinished token cache was removed. "
                "Free some space, or name a folder on another disk with training.cache_dir."
            ) from error
        raise DataError(
            f"{self._folder}: the token cache cannot be written ({error.strerror or error}); "
            "name another folder with training.cache_dir."
        ) from error


def _partial_name(directory: Path, process: int) -> Path:
    return directory.with_name(f".{directory.name}.{socket.gethostname()}.{process}")


def remove_leftovers(directory: Path) -> None:
    """Remove unfinished builds of the same key whose process, on this machine, is no more."""
    prefix = f".{directory.name}.{socket.gethostname()}."
    for entry in directory.parent.glob(f"{prefix}*"):
        process = entry.name.removeprefix(prefix)
        if process.isdecimal() and not _is_alive(int(process)):
            shutil.rmtree(entry, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
