"""Tokenises sources once and keeps the result: `prepare` opens what an earlier run built, or builds it.

The key of a build is a hash of what the tokens depend on: the identity of every source, the tokenizer, the
maximal length, the limit on documents. Weights, seed and share of the evaluation part act when a build is
opened, so changing them tokenises nothing. A build that is there is checked, file by file, and made again
when it is damaged; one that is whole is only read, so it may lie on a disk that cannot be written. A build
is written into a folder of its own, synced, and renamed when it is whole: a run that is killed leaves a
folder that no later run takes for a build, and that the next run of the same key removes.
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
from ultra_train.data.sources.data_source import DataSource, identity, read_records
from ultra_train.data.sources.row_checker import OnBadRows, RowChecker
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
        on_bad_rows: Whether a row that cannot be used is an error, or is skipped, counted and named.
        progress: Called as ``progress(documents, tokens)`` after each chunk.
        notify: Called with a line about a build that is damaged.

    Raises:
        DataError: A source cannot be used, `max_length` has no room for text, or the disk is full.
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
    manifest = _found(directory, notify)
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


def _found(directory: Path, notify: Notify) -> Manifest | None:
    """Return the manifest of a whole build; None when there is none, after a line when it is damaged."""
    if not os.path.lexists(directory):
        return None
    try:
        return check(directory)
    except DamagedBuild as damage:
        notify(f"notice: token cache: {damage}; the texts are tokenised again")
        return None


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
