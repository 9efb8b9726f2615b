"""The query side of the models of an index, loaded when it is first used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ultra_core.errors import UltraError
from ultra_train.search.encoders import Encoder, EncodingOptions, ModelIdentity, identify
from ultra_train.search.errors import SearchError
from ultra_train.search.index import SearchIndex
from ultra_train.search.inference_free import StaticQueries, static_queries
from ultra_train.search.manifest import EncoderRecord, Kind


class LazyQueries:
    """Encodes queries by a model that is found and loaded for the first of them.

    Args:
        record: what the index keeps about the model.
        where: the index, for error messages.
        given: the model, if it is no longer where it was when the index was built.
        options: how queries are encoded.
    """

    def __init__(
        self,
        record: EncoderRecord,
        where: str,
        given: ModelIdentity | None = None,
        options: EncodingOptions | None = None,
    ) -> None:
        self._record, self._where, self._given = record, where, given
        self._options = attrs.evolve(options or EncodingOptions(), truncate_dim=record.truncate_dim)
        self._static: StaticQueries | None = None
        self._encoder: Encoder | None = None

    def __call__(self, query: str) -> Any:
        """Return the vector of a query.

        Raises:
            UltraError: see :meth:`load`.
        """
        self.load()
        if self._static is not None:
            return self._static.encode(query)
        assert self._encoder is not None
        return self._encoder.queries([query])[0]

    @property
    def needs_network(self) -> bool:
        """Whether a network encodes queries, rather than a table of weights; known after :meth:`load`."""
        return self._encoder is not None

    def load(self) -> None:
        """Load the model, once; of an inference-free one only the weights of the tokens.

        Raises:
            UltraError: the model cannot be found or loaded, or is not that of the index.
        """
        if self._static is not None or self._encoder is not None:
            return
        identity = self._given or self._found()
        self._record.check_fingerprint(identity.model, identity.fingerprint, self._where)
        self._static = static_queries(identity.folder) if identity.kind == "sparse" else None
        if self._static is None:
            self._encoder = Encoder(identity, self._options)

    def _found(self) -> ModelIdentity:
        try:
            return identify(self._record.model)
        except UltraError as error:
            raise SearchError(
                f"{self._where}: the {self._record.kind} model it was built with is gone ({error}). Say "
                "where it is now with --model."
            ) from error


def query_encoders(
    index: SearchIndex, models: Mapping[Kind, ModelIdentity], options: EncodingOptions
) -> dict[str, LazyQueries]:
    """Return what encodes the queries of an index.

    Args:
        index: the index.
        models: its models, if they are no longer where they were when it was built.
        options: how queries are encoded.

    Raises:
        SearchError: a model is given that the index has no vectors of.
    """
    records: dict[Kind, EncoderRecord | None] = {
        "dense": index.manifest.dense,
        "sparse": index.manifest.sparse,
    }
    for kind, identity in models.items():
        if records[kind] is None:
            raise SearchError(f"{index.where}: has no {kind} vectors, so {identity.model} is of no use")
    return {
        kind: LazyQueries(record, index.where, models.get(kind), options)
        for kind, record in records.items()
        if record is not None
    }
