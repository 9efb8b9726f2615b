"""The rows of the files of a collection in the layout of BEIR.

The layout is ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``, ``text``) and
``qrels/SPLIT.tsv`` (``query-id``, ``corpus-id``, ``score``). Each file may be gzipped or a Parquet file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ultra_core.errors import listed
from ultra_train.data.errors import DataError
from ultra_train.data.sources.rows import Row, read_rows

_ID = ("_id", "id")
_HEADER = ("query-id", "corpus-id", "score")


class Entry(NamedTuple):
    """A document or query as it was read.

    Attributes:
        where: file and line, for error messages.
        id: its id.
        text: its text; that of a document begins with its title.
    """

    where: str
    id: str
    text: str


class Judgement(NamedTuple):
    """That a document answers a query, as it was read.

    Attributes:
        where: file and line, for error messages.
        query: id of the query.
        document: id of the document.
        grade: how well it answers; documents with 0 or less do not.
    """

    where: str
    query: str
    document: str
    grade: int


def entries(path: Path, *, titled: bool) -> Iterator[Entry]:
    """Yield the documents or queries of a file.

    Args:
        path: ``corpus.jsonl`` or ``queries.jsonl``, or the same as another kind of table.
        titled: whether a column ``title`` is put before the text.

    Raises:
        DataError: a row has other columns, no id, or something else than texts in them.
    """
    for where, row in read_rows(path):
        column = next((name for name in _ID if name in row), None)
        if column is None or "text" not in row:
            example = (
                '{"_id": "d1", "title": "...", "text": "..."}' if titled else '{"_id": "q1", "text": "..."}'
            )
            raise DataError(
                f"{where}: has the columns {listed(list(row)[:20])}, but each row must be like {example}."
            )
        title = _text(where, row, "title") if titled and "title" in row else ""
        name = _text(where, row, column)
        if not name:
            raise DataError(f"{where}: {column!r} is empty.")
        yield Entry(where, name, f"{title} {_text(where, row, 'text')}".strip())


def _text(where: str, row: Row, column: str) -> str:
    value = row[column]
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"{where}: {column!r} holds {type(value).__name__}, but must hold a text.")
    return str(value).strip()


def judgements(path: Path) -> Iterator[Judgement]:
    """Yield the judgements of a file.

    Raises:
        DataError: a row has other columns, or a grade that is no whole number.
    """
    for where, row in read_rows(path):
        if any(name not in row for name in _HEADER):
            raise DataError(
                f"{where}: has the columns {listed(list(row)[:20])}; the first line must name the columns "
                f"{listed(_HEADER)}, separated by tabs."
            )
        query, document, score = (row[name] for name in _HEADER)
        try:
            grade = float(score)
        except (TypeError, ValueError):
            grade = float("nan")
        if grade != int(grade) if abs(grade) < 2**31 else True:
            raise DataError(f"{where}: the score is {score!r}, but must be a whole number.")
        yield Judgement(where, str(query), str(document), int(grade))
