"""Making the windows of a stream: reading, tokenising and writing one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, TypeVar

import attrs

from ultra_train.data.errors import DataError
from ultra_train.data.sources.row_checker import SourceCounts
from ultra_train.data.sources.texts import Record
from ultra_train.data.streaming.text_stream import Cursor, Texts, TextStream
from ultra_train.data.streaming.windows import Split, Window, WindowFolder
from ultra_train.data.token_cache.cache_folders import disk_errors_explained, unfinished
from ultra_train.data.token_cache.claims import Claims
from ultra_train.data.token_cache.cutting import Cutting
from ultra_train.data.token_cache.text_encoder import EncodedTexts, EncoderPool, TextEncoder
from ultra_train.data.token_cache.writer import ShardWriter, put_in_place
from ultra_train.system.disk_space import DiskSpace

T = TypeVar("T")
_OF_DOCUMENTS = {"documents", "tokens", "without_tokens", "split", "repeated", "repeated_exactly"}
"""The counts that are made when texts are tokenised; the others are made when rows are read."""


@attrs.frozen
class WindowSettings:
    """How windows are made.

    Attributes:
        texts: the sources.
        encoder: tokenises and cuts texts.
        cutting: how texts become documents.
        split: which texts are held out.
        window: number of texts in a window.
        chunk: number of texts that a process tokenises at a time.
        num_workers: number of processes that tokenise.
        num_token_ids: number of token ids of the tokenizer.
        about: what the documents depend on.
    """

    texts: Texts
    encoder: TextEncoder
    cutting: Cutting
    split: Split
    window: int
    chunk: int
    num_workers: int
    num_token_ids: int
    about: Mapping[str, Any]


class WindowMaker:
    """Makes windows in the folder of a stream, which other processes may share; a context manager.

    Args:
        folder: the folder of the stream.
        settings: how windows are made.
    """

    def __init__(self, folder: WindowFolder, settings: WindowSettings) -> None:
        self.folder, self.settings = folder, settings
        self._pool = EncoderPool(settings.encoder, settings.num_workers)
        self._disk = DiskSpace(settings.texts.notify)
        self._ends: dict[int, Cursor] = {}
        """The end of every window that was only read here, since another process makes it."""
        self._last: int | None = None
        self._stream: TextStream | None = None
        self._standing = 0
        """The window that ``_stream`` reads next."""

    def __enter__(self) -> WindowMaker:
        self.folder.remove_leftovers()
        self._stack = ExitStack()
        self._claims = self._stack.enter_context(Claims(self.folder.directory))
        self._stack.enter_context(self._pool)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream = None  # which closes its files
        self._stack.close()

    def make(self, number: int) -> bool:
        """Make a window, and return whether it is there.

        It is not while another process makes it, or when the stream has no such window.

        Raises:
            DataError: a row cannot be used, the texts have changed, or the folder cannot be written.
        """
        name = self.folder.path(number).name
        if self.folder.has(number):
            return True
        if not self._when_there_is_room(lambda: self._claims.take(name)):
            return False
        try:
            if not self.folder.has(number) and self._move_to(number):
                self._write(number)
        except BaseException:  # also an interrupt, after which a notebook may go on
            self._stream = None  # it stands in the middle of a window
            raise
        finally:
            self._claims.release(name)
        return self.folder.has(number)

    def check_exists(self, number: int) -> None:
        """Refuse to wait for a window behind the last one.

        Raises:
            DataError: the stream has no such window.
        """
        if self.last is not None and number > self.last:
            raise DataError(
                f"{self.folder.directory}: the texts end in window {self.last}, but window {number} was "
                "there; restore the texts, or start a new run."
            )

    @property
    def last(self) -> int | None:
        """The last window of the stream, if it is known."""
        return self.folder.last if self._last is None else self._last

    def _move_to(self, number: int) -> bool:
        """Move the stream to the beginning of a window, and return whether there is one."""
        known = number
        while known and self._end(known - 1) is None:
            known -= 1
        if self._stream is None or not known <= self._standing <= number:
            self._stream = TextStream(self.settings.texts, self._end(known - 1) or Cursor())
            self._standing = known
        while self._standing < number and self._last is None:
            for _ in self._stream.take(self.settings.window):
                pass
            taken = self._stream.taken()
            self._passed(taken.end, taken.last)
        return self.last is None or number <= self.last

    def _end(self, number: int) -> Cursor | None:
        if number < 0:
            return Cursor()
        record = self.folder.record(number)
        return self._ends.get(number) if record is None else record.end

    def _passed(self, end: Cursor, last: bool) -> None:
        self._ends[self._standing] = end
        if last:
            self._last = self._standing
        self._standing += 1

    def _write(self, number: int) -> None:
        assert self._stream is not None
        directory = self.folder.path(number)
        before = self.folder.record(number)
        with unfinished(directory) as folder:
            writer = ShardWriter(folder, self.settings.num_token_ids, self._disk)
            counts = self._encode(writer)
            end, last, read = self._stream.taken()
            for here, of_rows in zip(counts, read, strict=True):
                for name, value in attrs.asdict(of_rows).items():
                    if name not in _OF_DOCUMENTS:
                        setattr(here, name, value)
            content, size = "", 0
            if writer.documents:
                manifest = writer.finish({**self.settings.about, "window": number})
                content, size = manifest.content, sum(shard.bytes for shard in manifest.shards)
                if before is not None and before.content != content:
                    raise DataError(
                        f"{directory}: the texts of this part of the stream are no longer those that the run "
                        "has read before; restore them, or start a new run."
                    )
                put_in_place(folder, manifest, directory, self.settings.texts.notify)
        self._passed(end, last)
        window = Window(end, last, writer.documents, size, content, tuple(counts))
        self._when_there_is_room(lambda: self.folder.write_record(number, window))

    def _when_there_is_room(self, write: Callable[[], T]) -> T:
        """Write a small file of the stream; a full disk pauses it."""
        with disk_errors_explained(self.folder.directory):
            return self._disk.write(write, "tokenised texts", self.folder.directory)

    def _encode(self, writer: ShardWriter) -> list[SourceCounts]:
        """Tokenise the texts of the next window, and return the counts of their documents."""
        assert self._stream is not None
        settings = self.settings
        joiner = settings.cutting.joiner(
            settings.encoder, eval_fraction=settings.split.eval_fraction, seed=settings.split.seed
        )
        counts = [SourceCounts(source.source) for source in settings.texts.sources]
        order: deque[int] = deque()
        encoded_of: list[deque[EncodedTexts]] = [deque() for _ in counts]
        for encoded in self._pool.encode_chunks(self._chunks(order)):
            encoded_of[order.popleft()].append(encoded)
        for here, chunks in zip(counts, encoded_of, strict=True):
            writer.begin_source(here)
            while chunks:
                encoded = chunks.popleft()
                writer.append(encoded if joiner is None else joiner.join(encoded))
        for rest in () if joiner is None else joiner.remainder():
            writer.append(rest)
        return counts

    def _chunks(self, order: deque[int]) -> Iterator[list[Record]]:
        """Yield the texts of the next window in chunks of one source each, and append this to ``order``."""
        assert self._stream is not None
        begun: dict[int, list[Record]] = {}
        for source, record in self._stream.take(self.settings.window):
            chunk = begun.setdefault(source, [])
            chunk.append(record)
            if len(chunk) == self.settings.chunk:
                order.append(source)
                yield begun.pop(source)
        for source, chunk in begun.items():
            order.append(source)
            yield chunk
