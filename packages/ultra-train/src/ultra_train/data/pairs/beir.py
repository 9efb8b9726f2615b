"""Queries and the documents that answer them, from a folder in the layout of BEIR.

The layout is ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``, ``text``) and
``qrels/<split>.tsv`` (``query-id``, ``corpus-id``, ``score``), each possibly gzipped or a Parquet file. A
document is its title, a space and its text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from ultra_core.errors import listed
from ultra_train.data.errors import DataError
from ultra_train.data.pairs.split_names import Split, split_of_name
from ultra_train.data.sources.rows import Row, read_rows

_QRELS = ("query-id", "corpus-id", "score")


def is_beir(paths: Sequence[Path]) -> bool:
    """Return whether the files of a folder are those of a retrieval collection."""
    return {"corpus", "queries"} <= {_stem(path) for path in paths} and bool(_judgements(paths))


def beir_rows(paths: Sequence[Path]) -> Iterator[tuple[str, Row, Split | None]]:
    """Yield (place, query and document, split) for every document that answers a query.

    Only the texts that are judged are held in memory.

    Raises:
        DataError: a file has other columns, or a judgement names a query or document that does not exist.
    """
    judged = [
        (where, str(row["query-id"]), str(row["corpus-id"]), split)
        for path, split in _judgements(paths)
        for where, row in _judged(path)
    ]
    queries = _texts(next(p for p in paths if _stem(p) == "queries"), {query for _, query, _, _ in judged})
    documents = _texts(next(p for p in paths if _stem(p) == "corpus"), {other for _, _, other, _ in judged})
    for where, query, document, split in judged:
        for name, texts, file in ((query, queries, "queries"), (document, documents, "corpus")):
            if name not in texts:
                raise DataError(f"{where}: names {name!r}, which is not in {file}.jsonl.")
        yield where, {"query": queries[query], "document": documents[document]}, split


def _judgements(paths: Sequence[Path]) -> list[tuple[Path, Split]]:
    files = [(path, split_of_name(path.name)) for path in paths if path.parent.name == "qrels"]
    return [(path, split) for path, split in files if split is not None]


def _judged(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield the judgements that say that a document answers a query."""
    for where, row in read_rows(path):
        if missing := [name for name in _QRELS if name not in row]:
            raise DataError(
                f"{where}: has no column {missing[0]!r}; its columns are {listed(list(row)[:20])}, but "
                f"judgements have {listed(_QRELS)}."
            )
        try:
            answers = float(row["score"]) > 0
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}: the score is {row['score']!r}, but must be a number.") from error
        if answers:
            yield where, row


def _texts(path: Path, wanted: Collection[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for where, row in read_rows(path):
        if "_id" not in row or not isinstance(row.get("text"), str):
            raise DataError(f"{where}: needs the columns '_id' and 'text', the second with a text.")
        if (name := str(row["_id"])) in wanted:
            texts[name] = f"{row.get('title') or ''} {row['text']}".strip()
    return texts


def _stem(path: Path) -> str:
    return path.name.partition(".")[0]
