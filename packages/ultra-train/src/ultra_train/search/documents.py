"""Reading documents: tables of them, folders of texts, and collections in the layout of BEIR."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import attrs

from ultra_core.errors import did_you_mean, listed
from ultra_train.data.errors import DataError
from ultra_train.data.sources.files import find_files
from ultra_train.data.sources.lines import read_lines
from ultra_train.data.sources.place import Place
from ultra_train.data.sources.readers import suffix
from ultra_train.data.sources.rows import Row, read_rows
from ultra_train.system.files import expand_user

CORPUS = "corpus.jsonl"
"""The file of the documents in a folder that has the layout of BEIR."""

ID_COLUMNS = ("_id", "id")
TITLE_COLUMN = "title"
"""Columns that are used when they exist and no other one is named."""

MAX_ID_BYTES = 512


class Document(NamedTuple):
    """A document.

    Attributes:
        id: identifies the document in the index; without an id column, a hash of its content.
        title: the title; it may be empty.
        text: the text without the title.
        where: file and line, for error messages.
    """

    id: str
    title: str
    text: str
    where: str = ""

    @property
    def searched(self) -> str:
        """The text that is encoded: the title and the text."""
        return f"{self.title} {self.text}".strip()

    @property
    def content(self) -> str:
        """A hash of title and text, by which a changed document is noticed: 16 hexadecimal digits."""
        return content_hash(self.title, self.text)


@attrs.frozen(kw_only=True)
class DocumentSource:
    """Where documents come from.

    A folder with a ``corpus.jsonl`` is a collection in the layout of BEIR, and only that file is read. In any
    other folder every table (JSON lines, CSV, TSV, Parquet) has a document in each row, and every ``.txt``
    file is one document, with its path as id. A single ``.txt`` file has a document in each line.

    Attributes:
        source: the file or folder, or a glob.
        id_column: the column of ids; by default ``_id`` or ``id`` if there is one, else the hash of the
            content is the id.
        text_column: the column of texts.
        title_column: the column of titles; by default ``title`` if there is one.
    """

    source: str
    id_column: str | None = None
    text_column: str = "text"
    title_column: str | None = None

    def files(self) -> list[Path]:
        """Return the files to read, sorted.

        Raises:
            DataError: there are none.
        """
        if (corpus := expand_user(self.source) / CORPUS).is_file():
            return [corpus]
        found = find_files(self.source)
        if found is None:
            raise DataError(
                f"{self.source}: there is no such file or folder; documents are read from local files."
            )
        return found.texts

    def documents(self) -> Iterator[Document]:
        """Yield all documents in order; those without title and text have an empty ``searched``.

        Raises:
            DataError: a file cannot be read, lacks a column, or has a bad row.
        """
        folder = expand_user(self.source)
        for path in self.files():
            if suffix(path).startswith(".txt"):
                yield from _whole_file(path, folder) if folder.is_dir() else _lines(path)
            else:
                yield from (self._document(where, row) for where, row in read_rows(path))

    def _document(self, where: str, row: Row) -> Document:
        text = _value(where, row, self.text_column)
        title = self.title_column or (TITLE_COLUMN if TITLE_COLUMN in row else None)
        heading = "" if title is None or title == self.text_column else _value(where, row, title)
        column = self.id_column or next((name for name in ID_COLUMNS if name in row), None)
        if column is None:
            return Document(content_hash(heading, text), heading, text, where)
        name = _value(where, row, column)
        if not name:
            raise DataError(f"{where}: column {column!r} is empty, but every document needs an id.")
        if len(name.encode()) > MAX_ID_BYTES:
            raise DataError(
                f"{where}: the id {name[:40]!r}... is longer than {MAX_ID_BYTES} bytes; shorten it."
            )
        return Document(name, heading, text, where)


def content_hash(title: str, text: str) -> str:
    """Return a hash of a title and a text: 16 hexadecimal digits."""
    return hashlib.blake2b(f"{title}\0{text}".encode(), digest_size=8).hexdigest()


def _value(where: str, row: Row, column: str) -> str:
    """Return the value of a column as a text without blanks around it; null is empty, a number its digits."""
    if column not in row:
        raise DataError(
            f"{where}: has no column {column!r}; its columns are {listed([repr(name) for name in row])}."
            f"{did_you_mean(column, row)} Name the columns with --text-column, --id-column, --title-column."
        )
    value = row[column]
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"{where}: column {column!r} holds {type(value).__name__}, but a text is needed.")
    return _encodable(str(value).strip(), where)


def _encodable(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: holds half a surrogate pair at character {error.start + 1}, which is not a text."
        ) from error
    return text


def _lines(path: Path) -> Iterator[Document]:
    for number, line, fault in read_lines(path, Place()):
        if fault is not None:
            raise fault
        text = line.strip()
        yield Document(content_hash("", text), "", text, f"{path}:{number}")


def _whole_file(path: Path, folder: Path) -> Iterator[Document]:
    lines = []
    for _, line, fault in read_lines(path, Place()):
        if fault is not None:
            raise fault
        lines.append(line)
    name = path.relative_to(folder).as_posix()
    yield Document(name, "", "\n".join(lines).strip(), str(path))
