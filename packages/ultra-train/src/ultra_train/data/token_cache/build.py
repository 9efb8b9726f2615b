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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultra_train.data.cache import Notify
from ultra_train.data.errors import DataError
from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.row_checker import OnBadRows
from ultra_train.data.sources.texts import identity
from ultra_train.data.token_cache.assembly import Build, Corpus, Progress, peak_memory
from ultra_train.data.token_cache.cutting import Cutting
from ultra_train.data.token_cache.manifest import DamagedBuild, Manifest, check
from ultra_train.data.token_cache.shards import TokenShards, open_build
from ultra_train.hf.vocabulary import num_token_ids
from ultra_train.system.disk_space import DiskSpace
from ultra_train.system.files import expand_user

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FORMAT = 1
_log = logging.getLogger(__name__)


def prepare(
    sources: Sequence[DataSource],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None = None,
    cutting: Cutting | None = None,
    cache_dir: str | Path,
    eval_fraction: float = 0.05,
    seed: int = 0,
    num_workers: int = 1,
    documents_per_chunk: int = 25_000,
    max_documents: int | None = None,
    on_bad_rows: OnBadRows = "error",
    processes: int = 1,
    disk: DiskSpace | None = None,
    progress: Progress | None = None,
    notify: Notify = _log.warning,
    say: Notify = _log.info,
) -> tuple[TokenShards, TokenShards]:
    """Return the tokenised training and evaluation documents of the sources, memory-mapped.

    Args:
        sources: the sources.
        tokenizer: a tokenizer of transformers.
        max_length: greatest number of tokens in a document, special tokens included; longer texts become
            several documents. Short for ``cutting=Cutting(max_length=max_length)``.
        cutting: how texts become documents.
        cache_dir: folder of the builds.
        eval_fraction: share of the texts (in embedded data sets: of the templates) that is held out for
            evaluation; may be 0.
        seed: seed of the choice of held-out texts.
        num_workers: number of processes that tokenise.
        documents_per_chunk: number of texts that a process tokenises at a time; bounds the memory.
        max_documents: greatest number of texts that are read, over all sources in their order; None reads
            all.
        on_bad_rows: whether a row that cannot be used is an error, or is skipped, counted and reported.
        processes: number of processes that call this function with the same arguments; those that see the
            same ``cache_dir`` divide the work.
        disk: waits for room on a full disk; without it, a full disk is an error.
        progress: is called as ``progress(documents, tokens)`` after each chunk.
        notify: is called with a line about a damaged build.
        say: is called with a line about the memory that a new build took.

    Raises:
        DataError: a source cannot be used, ``max_length`` leaves no room for text, or the disk is full.
    """
    if not 0 <= eval_fraction < 1:
        raise DataError(f"eval_fraction is {eval_fraction}, but it must be at least 0 and below 1.")
    cutting = cutting or Cutting(max_length=max_length or tokenizer.model_max_length)
    encoder = cutting.encoder(tokenizer)
    about = build_facts(sources, tokenizer, cutting, eval_fraction=eval_fraction, seed=seed)
    about["max_documents"] = max_documents
    if on_bad_rows != "error":
        about["on_bad_rows"] = on_bad_rows
    directory = expand_user(cache_dir) / f"tokens-{hash_of(about)}"
    manifest = _open_existing(directory, notify)
    if manifest is None:
        corpus = Corpus(sources, cache_dir, on_bad_rows, max_documents, notify)
        joiner = cutting.joiner(encoder, eval_fraction=eval_fraction, seed=seed)
        build = Build(directory, about, num_token_ids(tokenizer), joiner, progress, notify, disk)
        if processes == 1:
            manifest = build.alone(corpus, encoder, num_workers, documents_per_chunk)
        else:
            manifest = build.together(corpus, encoder, num_workers, documents_per_chunk)
        say(peak_memory(num_workers))
    weights = [source.weight for source in sources]
    return open_build(directory, manifest, eval_fraction=eval_fraction, seed=seed, weights=weights)


def build_facts(
    sources: Sequence[DataSource],
    tokenizer: PreTrainedTokenizerBase,
    cutting: Cutting,
    *,
    eval_fraction: float,
    seed: int,
    streamed: bool = False,
) -> dict[str, Any]:
    """Return what the documents of sources depend on, as plain data."""
    return {
        "format": _FORMAT,
        "sources": [identity(source, streamed=streamed) for source in sources],
        "tokenizer": tokenizer_hash(tokenizer),
        **cutting.about(eval_fraction=eval_fraction, seed=seed),
    }


def hash_of(about: Mapping[str, Any]) -> str:
    """Return a hash of plain data, for the name of a folder."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:20]


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
