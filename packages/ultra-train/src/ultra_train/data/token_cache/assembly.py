"""Making a build of the token cache: in one process, or together with the other processes of a run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
import psutil

from ultra_train.data.cache import Notify
from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.row_checker import OnBadRows, RowChecker
from ultra_train.data.sources.texts import Record, TextReader
from ultra_train.data.token_cache.cache_folders import disk_errors_explained, unfinished
from ultra_train.data.token_cache.claims import Claims
from ultra_train.data.token_cache.joining import Joiner
from ultra_train.data.token_cache.manifest import MANIFEST, Manifest, check
from ultra_train.data.token_cache.shared_encoding import ASSEMBLY, SharedEncoding
from ultra_train.data.token_cache.text_encoder import EncodedTexts, EncoderPool, TextEncoder, in_chunks
from ultra_train.data.token_cache.writer import ShardWriter, put_in_place
from ultra_train.system import files
from ultra_train.system.disk_space import DiskSpace
from ultra_train.system.memory import peak_resident

Progress = Callable[[int, int], None]
Encode = Callable[[int, Iterable[list[Record]]], Iterator[EncodedTexts]]

_POLL = 0.05


@attrs.frozen
class Corpus:
    """The texts of several sources, one source after the other; see ``build.prepare`` for the attributes."""

    sources: Sequence[DataSource]
    cache_dir: str | Path
    on_bad_rows: OnBadRows
    max_documents: int | None
    notify: Notify

    def texts(self) -> Iterator[tuple[RowChecker, Iterator[Record]]]:
        """Yield for each source its checker and its texts, which are to be read before the next source."""
        left, reader = self.max_documents, TextReader(cache_dir=self.cache_dir, notify=self.notify)
        for source in self.sources:
            checker = RowChecker(source.source, self.on_bad_rows)
            yield checker, islice(reader.records(source, checker), left)
            left = None if left is None else left - checker.counts.texts


@attrs.frozen
class Build:
    """A build that is to be made.

    Attributes:
        directory: its folder.
        about: what its documents depend on.
        num_token_ids: number of token ids of the tokenizer.
        joiner: joins the texts, or None.
        progress: is called with the number of documents and of tokens so far.
        notify: is called with a line about what is in the way.
        disk: waits for room on a full disk; without it, a full disk is an error.
    """

    directory: Path
    about: Mapping[str, Any]
    num_token_ids: int
    joiner: Joiner | None
    progress: Progress | None
    notify: Notify
    disk: DiskSpace | None = None

    def alone(self, corpus: Corpus, encoder: TextEncoder, num_workers: int, chunk_size: int) -> Manifest:
        """Tokenise a corpus, and return the manifest of the build."""
        with EncoderPool(encoder, num_workers) as pool:
            return self._write(corpus, chunk_size, lambda _, chunks: pool.encode_chunks(chunks))

    def together(self, corpus: Corpus, encoder: TextEncoder, num_workers: int, chunk_size: int) -> Manifest:
        """Do the same, with all processes that call this at the same time for the same build."""
        shared = self.directory.with_name(f".{self.directory.name}.shared-{chunk_size}")
        with disk_errors_explained(self.directory.parent):
            shared.mkdir(parents=True, exist_ok=True)
        with Claims(shared) as claims:

            def encoding(source: int) -> SharedEncoding:
                folder = shared / f"source-{source}"
                folder.mkdir(exist_ok=True)
                return SharedEncoding(folder, claims, encoder, num_workers)

            def is_needed() -> bool:
                return claims.is_taken(ASSEMBLY) and not self._is_made()

            while not self._is_made():
                try:
                    if claims.take(ASSEMBLY):
                        manifest = self._write(
                            corpus, chunk_size, lambda source, chunks: encoding(source).assemble(chunks)
                        )
                        shutil.rmtree(shared, ignore_errors=True)  # ours alone, and nobody needs it any more
                        return manifest
                    for source, (_, texts) in enumerate(corpus.texts()):
                        if is_needed():
                            encoding(source).help(in_chunks(texts, chunk_size), is_needed)
                except FileNotFoundError:
                    if not self._is_made():  # else the process that made it has removed the shared folder
                        raise
                while is_needed():
                    time.sleep(_POLL)
        files.remove_empty(shared)  # of a process that came when the build was there
        return check(self.directory)

    def _is_made(self) -> bool:
        return (self.directory / MANIFEST).exists()

    def _write(self, corpus: Corpus, chunk_size: int, encode: Encode) -> Manifest:
        with unfinished(self.directory) as folder:
            writer = ShardWriter(folder, self.num_token_ids, self.disk)
            for source, (checker, texts) in enumerate(corpus.texts()):
                writer.begin_source(checker.counts)
                for encoded in encode(source, in_chunks(texts, chunk_size)):
                    writer.append(encoded if self.joiner is None else self.joiner.join(encoded))
                    if self.progress is not None:
                        self.progress(writer.documents, writer.tokens)
            for rest in () if self.joiner is None else self.joiner.remainder():
                writer.append(rest)
            return put_in_place(folder, writer.finish(self.about), self.directory, self.notify)


def peak_memory(num_workers: int) -> str:
    """Return a line about the peak memory of this process and of those that tokenise for it."""
    own, child = peak_resident() or 0, peak_resident(of_children=True) or 0
    with suppress(psutil.NoSuchProcess):  # one that ended meanwhile
        child = max([child, *(process.memory_info().rss for process in psutil.Process().children())])
    others = (
        f", at most {child / 1e6:,.0f} MB in each of {num_workers} that tokenise" if num_workers > 1 else ""
    )
    return f"      peak memory {own / 1e6:,.0f} MB in this process{others}"
