"""Reading a collection from a folder or archive in the layout of BEIR.

The layout is ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``, ``text``) and
``qrels/SPLIT.tsv`` (``query-id``, ``corpus-id``, ``score``). Each file may be gzipped or a Parquet file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ultra_core.errors import did_you_mean, listed
from ultra_train.data.errors import DataError
from ultra_train.data.sources.beir import entries, judgements
from ultra_train.retrieval.archive import opened
from ultra_train.retrieval.collection import Collection, build_collection

LAYOUT = "corpus.jsonl, queries.jsonl and qrels/test.tsv"
ENDINGS = ("", ".gz")


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
            entries(corpus, titled=True),
            entries(queries, titled=False),
            {split: judgements(found[split]) for split in wanted},
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
