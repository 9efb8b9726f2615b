"""Reading a collection from a folder or archive in the layout of BEIR.

The layout is ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``, ``text``) and
``qrels/SPLIT.tsv`` (``query-id``, ``corpus-id``, ``score``). Each file may be gzipped or a Parquet file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ultra_core.errors import did_you_mean, listed
from ultra_train.data.errors import DataError
from ultra_train.data.sources.rows import Row, read_rows
from ultra_train.retrieval.archive import opened
from ultra_train.retrieval.collection import Collection, Entry, Judgement, build_collection

LAYOUT = "corpus.jsonl, queries.jsonl and qrels/test.tsv"
ENDINGS = ("", ".gz")
_ID = ("_id", "id")
_HEADER = ("query-id", "corpus-id", "score")


def is_beir(source: Path) -> bool:
    """Whether a path is a folder with a corpus, or an archive."""
    if source.is_dir():
        return _table(source, "corpus") is not None
    return source.name.lower().endswith((".tar.gz", ".tgz", ".tar"))


def read_beir(source: Path, splits: Sequence[str], optional: Sequence[str] = ()) -> Collection:
    """Read a collection.

    Args:
        source: the folder, or a ``.tar.gz`` of it.
        splits: the splits whose judgements are needed.
        optional: splits whose judgements are read if they exist.

    Raises:
        DataError: a file is missing, cannot be read, has another layout, or does not fit the others.
    """
    name = source.name.split(".")[0] if not source.is_dir() else source.resolve().name
    with opened(source) as folder:
        corpus, queries = _needed(source, folder, "corpus"), _needed(source, folder, "queries")
        found = {path.name.split(".")[0]: path for path in _qrels_files(folder)}
        for split in splits:
            if split not in found:
                raise _missing_split(source, split, sorted(found))
        wanted = dict.fromkeys([*splits, *(split for split in optional if split in found)])
        return build_collection(
            name,
            _entries(corpus, titled=True),
            _entries(queries, titled=False),
            {split: _judgements(found[split]) for split in wanted},
        )


def _table(folder: Path, stem: str) -> Path | None:
    names = [f"{stem}{kind}{end}" for kind in (".jsonl", ".parquet") for end in ENDINGS]
    return next((path for name in names if (path := folder / name).is_file()), None)


def _needed(source: Path, folder: Path, stem: str) -> Path:
    path = _table(folder, stem)
    if path is None:
        there = sorted(entry.name for entry in folder.iterdir())[:20]
        raise DataError(
            f"{source}: has no {stem}.jsonl; a collection consists of {LAYOUT}, but here are {listed(there)}."
        )
    return path


def _qrels_files(folder: Path) -> Iterator[Path]:
    if (qrels := folder / "qrels").is_dir():
        for path in sorted(qrels.iterdir()):
            if path.name.endswith((".tsv", ".tsv.gz", ".parquet")):
                yield path


def _missing_split(source: Path, split: str, found: Sequence[str]) -> DataError:
    there = f"there are {listed(found)}" if found else "there is no file of judgements at all"
    return DataError(f"{source}: has no qrels/{split}.tsv; {there}.{did_you_mean(split, found)}")


def _entries(path: Path, *, titled: bool) -> Iterator[Entry]:
    """Yield the documents or queries of a file."""
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


def _judgements(path: Path) -> Iterator[Judgement]:
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
