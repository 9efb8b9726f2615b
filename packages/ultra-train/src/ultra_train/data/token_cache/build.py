"""The token cache: ``prepare`` opens the tokenised documents of an earlier run, or builds them.

The key of a build is a hash of everything that the tokens depend on: the identity of every source, the
tokenizer, the greatest length, the limit on documents. Weights, seed and evaluation share are applied when a
build is opened, so changing them tokenises nothing. All files of an existing build are checked, and a damaged
build is made again; an intact one is only read, so it may be on a read-only disk. A new build is written into
a folder of its own, synced, and renamed when it is complete. A killed run therefore leaves a folder that no
later run mistakes for a build, and that the next run with the same key removes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ultra_train.data.cache import Notify
from ultra_train.data.errors import DataError
from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.row_checker import OnBadRows, RowChecker
from ultra_train.data.sources.texts import identity, read_records
from ultra_train.data.token_cache.cache_folders import unfinished
from ultra_train.data.token_cache.manifest import DamagedBuild, Manifest, check
from ultra_train.data.token_cache.shards import TokenShards, open_build
from ultra_train.data.token_cache.text_encoder import TextEncoder, encode_all
from ultra_train.data.token_cache.writer import ShardWriter, put_in_place
from ultra_train.hf.vocabulary import num_token_ids
from ultra_train.system.files import expand_user

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FORMAT = 1
_log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]


def prepare(
    sources: Sequence[DataSource],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    cache_dir: str | Path,
    eval_fraction: float = 0.05,
    seed: int = 0,
    num_workers: int = 1,
    documents_per_chunk: int = 25_000,
    max_documents: int | None = None,
    on_bad_rows: OnBadRows = "error",
    progress: Progress | None = None,
    notify: Notify = _log.warning,
) -> tuple[TokenShards, TokenShards]:
    """Return the tokenised training and evaluation documents of the sources, memory-mapped.

    Args:
        sources: the sources.
        tokenizer: a tokenizer of transformers.
        max_length: greatest number of tokens in a document, special tokens included; longer texts become
            several documents.
        cache_dir: folder of the builds.
        eval_fraction: share of the texts (in embedded data sets: of the templates) that is held out for
            evaluation; may be 0.
        seed: seed of the choice of held-out texts.
        num_workers: number of processes that tokenise.
        documents_per_chunk: number of texts that a process tokenises at a time; bounds the memory.
        max_documents: greatest number of texts that are read, over all sources in their order; None reads
            all.
        on_bad_rows: whether a row that cannot be used is an error, or is skipped, counted and reported.
        progress: is called as ``progress(documents, tokens)`` after each chunk.
        notify: is called with a line about a damaged build.

    Raises:
        DataError: a source cannot be used, ``max_length`` leaves no room for text, or the disk is full.
    """
    if not 0 <= eval_fraction < 1:
        raise DataError(f"eval_fraction is {eval_fraction}, but it must be at least 0 and below 1.")
    encoder = TextEncoder(tokenizer, max_length)
    about = {
        "format": _FORMAT,
        "sources": [identity(source) for source in sources],
        "tokenizer": tokenizer_hash(tokenizer),
        "max_length": max_length,
        "max_documents": max_documents,
    }
    if on_bad_rows != "error":
        about["on_bad_rows"] = on_bad_rows
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:20]
    directory = expand_user(cache_dir) / f"tokens-{key}"
    manifest = _open_existing(directory, notify)
    if manifest is None:
        with unfinished(directory) as folder:
            writer = ShardWriter(folder, num_token_ids(tokenizer))
            for source in sources:
                checker = RowChecker(source.source, on_bad_rows)
                writer.begin_source(checker.counts)
                room = None if max_documents is None else max(0, max_documents - writer.texts)
                texts = islice(
                    read_records(source, cache_dir=cache_dir, checker=checker, notify=notify), room
                )
                for encoded in encode_all(
                    texts, encoder, num_workers=num_workers, chunk_size=documents_per_chunk
                ):
                    writer.append(encoded)
                    if progress is not None:
                        progress(writer.documents, writer.tokens)
            manifest = put_in_place(folder, writer.finish(about), directory, notify)
    weights = [source.weight for source in sources]
    return open_build(directory, manifest, eval_fraction=eval_fraction, seed=seed, weights=weights)


def _open_existing(directory: Path, notify: Notify) -> Manifest | None:
    """Return the manifest of an intact build, or None; reports a damaged one."""
    if not os.path.lexists(directory):
        return None
    try:
        return check(directory)
    except DamagedBuild as damage:
        notify(f"notice: token cache: {damage}; the texts are tokenised again")
        return None


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a hash of everything in a tokenizer that determines the tokens of a text."""
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
