"""Queries and the documents that answer them, from a folder in the layout of BEIR.

A document is its title, a space and its text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from ultra_train.data.errors import DataError
from ultra_train.data.pairs.split_names import Split, split_of_name
from ultra_train.data.sources.beir import entries, judgements
from ultra_train.data.sources.rows import Row


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
        (judgement, split)
        for path, split in _judgements(paths)
        for judgement in judgements(path)
        if judgement.grade > 0
    ]
    queries = _texts(paths, "queries", {judgement.query for judgement, _ in judged})
    documents = _texts(paths, "corpus", {judgement.document for judgement, _ in judged})
    for (where, query, document, _), split in judged:
        for name, texts, file in ((query, queries, "queries"), (document, documents, "corpus")):
            if name not in texts:
                raise DataError(f"{where}: names {name!r}, which is not in {file}.jsonl.")
        yield where, {"query": queries[query], "document": documents[document]}, split


def _judgements(paths: Sequence[Path]) -> list[tuple[Path, Split]]:
    files = [(path, split_of_name(path.name)) for path in paths if path.parent.name == "qrels"]
    return [(path, split) for path, split in files if split is not None]


def _texts(paths: Sequence[Path], stem: str, wanted: Collection[str]) -> dict[str, str]:
    """Return the texts of some documents or queries by their ids."""
    path = next(path for path in paths if _stem(path) == stem)
    return {entry.id: entry.text for entry in entries(path, titled=stem == "corpus") if entry.id in wanted}


def _stem(path: Path) -> str:
    return path.name.partition(".")[0]
