"""``index_documents``: everything that ``ultra-train index`` does, from the first check to the last word."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from rich.console import Console

from ultra_train.search.building import BuildCounts, build
from ultra_train.search.documents import DocumentSource
from ultra_train.search.encoders import Encoder, EncodingOptions, ModelIdentity, identify_all
from ultra_train.search.errors import SearchError, require_milvus
from ultra_train.search.index import DEFAULT_COLLECTION, create_index, open_index
from ultra_train.search.manifest import IndexManifest, Kind
from ultra_train.search.milvus import DEFAULT_URI, Connection, check_uri, is_local
from ultra_train.search.progress import progress
from ultra_train.search.survey import Survey, survey


@attrs.frozen(kw_only=True)
class Indexing:
    """The outcome of :func:`index_documents`.

    Attributes:
        counts: what became of the documents.
        survey: what the first reading of the documents has found.
        total: documents in the index now, also those of earlier sources.
        seconds: time that encoding and adding took.
    """

    counts: BuildCounts
    survey: Survey
    total: int
    seconds: float


def index_documents(
    source: DocumentSource,
    models: Sequence[str] = (),
    *,
    bm25: bool = False,
    to: str = DEFAULT_URI,
    collection: str = DEFAULT_COLLECTION,
    options: EncodingOptions | None = None,
    console: Console | None = None,
) -> Indexing:
    """Build an index, or add to it what is new or has changed.

    All that can be wrong with the address, the models and the documents is found before a model is loaded.

    Args:
        source: where the documents come from.
        models: folders, runs or hub names of at most one dense and one sparse encoder.
        bm25: whether documents can also be searched by their words.
        to: path of a local index, or address of a Milvus server.
        collection: name of the collection.
        options: how documents are encoded.
        console: where to show progress; by default nowhere.

    Raises:
        UltraError: the documents, the models, or the address are no good, or do not fit the index.
    """
    if not models and not bm25:
        raise SearchError("an index needs a model (--model) or the words of the documents (--bm25)")
    console = console or Console(quiet=True)
    check_uri(to, exists=False)
    require_milvus(embedded=is_local(to))
    identities = identify_all(models)
    found = survey(source)
    with Connection(to) as connection:
        if connection.has(collection):
            _check_models(open_index(connection, collection).manifest, identities, to)
        encoders = {
            kind: Encoder(identity, options or EncodingOptions()) for kind, identity in identities.items()
        }
        records: dict[str, Any] = {kind: encoder.record for kind, encoder in encoders.items()}
        manifest = IndexManifest(**records, bm25=bm25)
        index, new = create_index(connection, manifest, collection)
        began = time.monotonic()
        with progress("documents", found.documents, console) as advance:
            counts = build(
                index, found.read(), encoders, empty=new, report=lambda counts: advance(counts.read)
            )
        seconds = time.monotonic() - began
        return Indexing(counts=counts, survey=found, total=index.count(), seconds=seconds)


def _check_models(manifest: IndexManifest, identities: Mapping[Kind, ModelIdentity], where: str) -> None:
    """Refuse other models than those of the index, before they are loaded."""
    for kind, identity in identities.items():
        if (kept := getattr(manifest, kind)) is not None:
            kept.check_fingerprint(identity.model, identity.fingerprint, where)
