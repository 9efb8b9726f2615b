"""Collections from the Hugging Face hub: NanoBEIR, and the retrieval tasks of MTEB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ultra_core.errors import UltraError, did_you_mean, listed
from ultra_train.data.errors import DataError
from ultra_train.data.sources.beir import Entry, Judgement
from ultra_train.hf.errors import describe_error
from ultra_train.retrieval.collection import Collection, build_collection

NANOBEIR = "nanobeir:"
MTEB = "mteb:"
NANOBEIR_DATASET = "sentence-transformers/NanoBEIR-en"
_INSTEAD = "or give a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv"


def read_nanobeir(name: str) -> Collection:
    """Read one of the collections of NanoBEIR, whose judgements are its split ``test``.

    Args:
        name: such as ``msmarco``, or ``msmarco@OWNER/DATASET`` for a translation of NanoBEIR.

    Raises:
        DataError: there is no collection of this name, or it cannot be fetched.
    """
    from sentence_transformers.sentence_transformer.evaluation.nano_beir import DATASET_NAME_TO_HUMAN_READABLE

    from ultra_train.hf.hub import HubName, require_hub

    short, _, dataset = name.partition("@")
    dataset = dataset or NANOBEIR_DATASET
    if short.lower() not in DATASET_NAME_TO_HUMAN_READABLE:
        known = list(DATASET_NAME_TO_HUMAN_READABLE)
        raise DataError(f"{NANOBEIR}{name}: NanoBEIR has {listed(known)}.{did_you_mean(short, known)}")
    try:
        require_hub([HubName("", dataset, "dataset")])
    except UltraError as error:
        raise DataError(f"{NANOBEIR}{name}: {error}, {_INSTEAD}") from error
    split = f"Nano{DATASET_NAME_TO_HUMAN_READABLE[short.lower()]}"
    rows = {part: _load(dataset, part, split) for part in ("corpus", "queries", "qrels")}
    judgements = [
        Judgement(f"{dataset}: qrels", str(row["query-id"]), str(row["corpus-id"]), int(row.get("score", 1)))
        for row in rows["qrels"]
    ]
    return build_collection(
        split,
        _entries(f"{dataset}: corpus", rows["corpus"]),
        _entries(f"{dataset}: queries", rows["queries"]),
        {"test": judgements},
    )


def read_mteb(name: str, splits: Sequence[str], optional: Sequence[str] = ()) -> Collection:
    """Read a retrieval task of MTEB; only its data are used, so that a model is evaluated as what it is.

    Args:
        name: name of the task, or ``TASK/SUBSET`` for one with several languages.
        splits: the splits whose judgements are needed.
        optional: splits whose judgements are read if they exist.

    Raises:
        DataError: ``mteb`` is not installed, or has no such task, or the task cannot be fetched.
    """
    try:
        import mteb
    except ImportError as error:
        raise DataError(
            f'{MTEB}{name}: needs the library mteb: pip install "ultra-train[mteb]"; {_INSTEAD}'
        ) from error
    title, _, subset = name.partition("/")
    try:
        task = mteb.get_task(title, hf_subsets=[subset] if subset else None)
    except (KeyError, ValueError) as error:
        raise DataError(f"{MTEB}{name}: mteb has no such task ({error.args[0]})") from error
    if task.metadata.type != "Retrieval":
        raise DataError(f"{MTEB}{name}: is a task of the kind {task.metadata.type}; only Retrieval is read")
    try:
        task.load_data()
    except Exception as error:  # those of the client of the hub, and of data sets
        raise DataError(f"{MTEB}{name}: cannot be fetched ({describe_error(error)}); {_INSTEAD}") from error
    return _of_task(f"{MTEB}{name}", title, task.dataset, subset, splits, optional)


def _of_task(
    shown: str,
    title: str,
    subsets: Mapping[str, Mapping[str, Any]],
    subset: str,
    splits: Sequence[str],
    optional: Sequence[str],
) -> Collection:
    """Return the collection of a loaded task, whose splits must have one corpus."""
    if not subset and len(subsets) > 1:
        raise DataError(f"{shown}: has the subsets {listed(list(subsets))}; name one: {shown}/SUBSET")
    found = subsets[subset or next(iter(subsets))]
    if missing := [split for split in splits if split not in found]:
        raise DataError(f"{shown}: has no split {missing[0]!r}; there are {listed(list(found))}")
    wanted = list(dict.fromkeys([*splits, *(split for split in optional if split in found)]))
    first = found[wanted[0]]
    queries = {str(row["id"]): row for split in wanted for row in found[split]["queries"]}
    return build_collection(
        title,
        _entries(f"{shown}: corpus", first["corpus"]),
        _entries(f"{shown}: queries", queries.values()),
        {split: list(_graded(shown, found[split]["relevant_docs"])) for split in wanted},
    )


def _graded(shown: str, relevant: Mapping[str, Mapping[str, int]]) -> Iterator[Judgement]:
    for query, documents in relevant.items():
        for document, grade in documents.items():
            yield Judgement(f"{shown}: judgements", str(query), str(document), int(grade))


def _entries(where: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[Entry]:
    for row in rows:
        text = f"{row.get('title') or ''} {row['text'] or ''}".strip()
        yield Entry(where, str(row["_id"] if "_id" in row else row["id"]), text)


def _load(dataset: str, part: str, split: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(dataset, part, split=split)
    except Exception as error:  # those of the client of the hub
        raise DataError(
            f"{dataset}: its part {part!r} cannot be fetched ({describe_error(error)}); {_INSTEAD}"
        ) from error
