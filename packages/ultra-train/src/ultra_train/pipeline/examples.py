"""The texts of an evaluation beside its results: all documents, and one query to try."""

from __future__ import annotations

import json

from ultra_train.pipeline.folder import DOCUMENTS, PipelineFolder
from ultra_train.retrieval.collection import Collection
from ultra_train.system import files

_QUERY = "query.txt"


def write_texts(folder: PipelineFolder, collection: Collection, split: str) -> None:
    """Write the documents of a collection as JSON lines, and the first query of a split."""
    rows = zip(collection.document_ids, collection.documents, strict=True)
    lines = [json.dumps({"_id": name, "text": text}, ensure_ascii=False) for name, text in rows]
    files.write_text(folder.evaluation / DOCUMENTS, "\n".join(lines) + "\n")
    files.write_text(folder.evaluation / _QUERY, collection.judged(split)[0])


def read_query(folder: PipelineFolder) -> str | None:
    """Return the query; None without an evaluation."""
    path = folder.evaluation / _QUERY
    return path.read_text("utf-8") if path.is_file() else None
