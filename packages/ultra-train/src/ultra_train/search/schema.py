"""The fields of an index in Milvus and how each of them is indexed."""

from __future__ import annotations

from typing import Any

from ultra_train.search.documents import MAX_ID_BYTES
from ultra_train.search.manifest import IndexManifest

ID, TITLE, TEXT, CONTENT = "id", "title", "text", "content"
DENSE, SPARSE, BM25 = "dense", "sparse", "bm25"

MAX_TEXT_BYTES = 65_535
MAX_TITLE_BYTES = 2_000
"""Longest text that a field holds; Milvus allows no more."""

MAX_RESULTS = 16_384
"""Most results of one search; Milvus allows no more."""

PROPERTY_MANIFEST, PROPERTY_COMPLETE = "ultra.manifest", "ultra.complete"


def metric_of(field: str, manifest: IndexManifest) -> str:
    """Return the metric of a field of vectors, as Milvus calls it.

    Dense vectors are stored with length 1 when they are compared by cosine, so their inner product is the
    cosine, and no search computes lengths.
    """
    if field == BM25:
        return "BM25"
    if field == DENSE and manifest.dense is not None and manifest.dense.similarity == "euclidean":
        return "L2"
    return "IP"


def collection_schema(client: Any, manifest: IndexManifest) -> Any:
    """Return the schema of the collection."""
    from pymilvus import DataType, Function, FunctionType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field(ID, DataType.VARCHAR, is_primary=True, max_length=MAX_ID_BYTES)
    schema.add_field(TITLE, DataType.VARCHAR, max_length=MAX_TITLE_BYTES)
    analysed = {"enable_analyzer": True, "analyzer_params": {"type": "standard"}} if manifest.bm25 else {}
    schema.add_field(TEXT, DataType.VARCHAR, max_length=MAX_TEXT_BYTES, **analysed)
    schema.add_field(CONTENT, DataType.VARCHAR, max_length=16)
    if manifest.dense is not None:
        schema.add_field(DENSE, DataType.FLOAT_VECTOR, dim=manifest.dense.dimension)
    if manifest.sparse is not None:
        schema.add_field(SPARSE, DataType.SPARSE_FLOAT_VECTOR)
    if manifest.bm25:
        schema.add_field(BM25, DataType.SPARSE_FLOAT_VECTOR)
        words = Function(
            name="words",
            function_type=FunctionType.BM25,
            input_field_names=[TEXT],
            output_field_names=[BM25],
        )
        schema.add_function(words)
    return schema


def index_parameters(client: Any, manifest: IndexManifest, *, embedded: bool) -> Any:
    """Return how the fields are indexed.

    milvus-lite visits every document in each search whatever the index of dense vectors is, so there it is
    ``FLAT``, which is exact and takes no time to build. A server chooses an index itself.
    """
    parameters = client.prepare_index_params()
    for field in manifest.retrievers:
        kind = ("FLAT" if embedded else "AUTOINDEX") if field == DENSE else "SPARSE_INVERTED_INDEX"
        parameters.add_index(field, index_type=kind, metric_type=metric_of(field, manifest))
    return parameters
