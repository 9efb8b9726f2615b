"""Reading the items of a JSON array one by one, so that a large file does not have to fit in memory."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ultra_train.data.errors import DataError
from ultra_train.data.sources.lines import open_stream

_CHUNK = 2**20
_LONGEST = 2**28
"""Characters that are read at a time, and of an item."""


def is_json_array(path: Path) -> bool:
    """Return whether a file begins as a JSON array, not as an object.

    Raises:
        DataError: the file is compressed and broken.
    """
    try:
        with open_stream(path) as stream:
            return stream.read(4096).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: the compressed file is broken or cut short ({error}).") from error


def json_array(path: Path) -> Iterator[Any]:
    """Yield the items of a file that holds one JSON array.

    Raises:
        DataError: the file is not UTF-8, not such an array, cut short, or has text after it.
    """
    with open_stream(path) as stream:
        window = _Window(path, io.TextIOWrapper(stream, "utf-8-sig"))
        window.take("[")
        while window.next_sign() != "]":
            if window.items:
                window.take(",")
            yield window.item()
        window.take("]")
        if window.next_sign():
            raise DataError(f"{path}: there is text after the end of the array.")


class _Window:
    """The part of a JSON text that was read and not parsed yet.

    Args:
        path: the file, for error messages.
        stream: the text.

    Attributes:
        items: number of items that were parsed.
    """

    def __init__(self, path: Path, stream: TextIO) -> None:
        self.items = 0
        self._path, self._stream = path, stream
        self._text, self._at = "", 0
        self._decoder = json.JSONDecoder()

    def next_sign(self) -> str:
        """Return the next character that is no white space, or ``""`` at the end of the file."""
        while True:
            while self._at < len(self._text):
                if not (sign := self._text[self._at]).isspace():
                    return sign
                self._at += 1
            if not self._read_more():
                return ""

    def take(self, sign: str) -> None:
        """Move behind a character, which must be the next one."""
        if (found := self.next_sign()) != sign:
            there = repr(found) if found else "the end of the file"
            raise DataError(f"{self._path}: after item {self.items} stands {there}, not {sign!r}.")
        self._at += 1

    def item(self) -> Any:
        """Parse the next value."""
        self.next_sign()
        where = f"{self._path}: item {self.items + 1}"
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except RecursionError as error:
                raise DataError(f"{where}: is nested too deeply to be read.") from error
            except ValueError as error:
                if len(self._text) - self._at > _LONGEST or not self._read_more():
                    raise DataError(f"{where}: is not JSON ({getattr(error, 'msg', error)}).") from error
            else:
                if end < len(self._text) or not self._read_more():  # a number may go on in the next part
                    self.items, self._at = self.items + 1, end
                    return value

    def _read_more(self) -> bool:
        try:
            more = self._stream.read(max(_CHUNK, len(self._text) - self._at))
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self._path}: after item {self.items}: is not UTF-8 ({error.reason})."
            ) from error
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise DataError(
                f"{self._path}: after item {self.items}: the compressed file is broken or cut short "
                f"({error})."
            ) from error
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)
