"""The texts of an evaluation beside its results: all documents, and one query to try."""

from __future__ import annotations

import json

import attrs

from ultra_train.pipeline.folder import DOCUMENTS, PipelineFolder
from ultra_train.retrieval.collection import Collection
from ultra_train.system import files

_EXAMPLE = "example.json"


@attrs.frozen
class Example:
    """A query and a document that answers it."""

    query: str
    document: str


def write_texts(folder: PipelineFolder, collection: Collection, split: str) -> None:
    """Write the documents of a collection as JSON lines, and the first query of a split with its document."""
    rows = zip(collection.document_ids, collection.documents, strict=True)
    lines = [json.dumps({"_id": name, "text": text}, ensure_ascii=False) for name, text in rows]
    files.write_text(folder.evaluation / DOCUMENTS, "\n".join(lines) + "\n")
    qrels = collection.qrels[split]
    answer = next(iter(qrels.relevant[0]))
    example = Example(collection.queries[qrels.queries[0]], collection.documents[answer])
    files.write_text(folder.evaluation / _EXAMPLE, json.dumps(attrs.asdict(example), ensure_ascii=False))


def read_example(folder: PipelineFolder) -> Example | None:
    """Return the query and its document; None without an evaluation."""
    path = folder.evaluation / _EXAMPLE
    return Example(**files.read_json(path)) if path.is_file() else None
