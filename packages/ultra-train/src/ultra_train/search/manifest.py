"""What an index keeps about the models that it was built with."""

from __future__ import annotations

import json
from typing import Any, Literal

import attrs

from ultra_train.search.errors import SearchError

Kind = Literal["dense", "sparse"]

FORMAT = 1
"""Version of the layout of an index; an index of another version is refused."""


@attrs.frozen(kw_only=True)
class EncoderRecord:
    """A model as an index remembers it.

    Attributes:
        kind: whether its vectors are dense or sparse.
        model: where it was loaded from; it may have been moved since.
        fingerprint: hash of its weights, configuration and prompts.
        dimension: dimensions of its vectors, after truncation.
        similarity: ``cosine``, ``dot`` or ``euclidean``.
        truncate_dim: leading dimensions that are used of a Matryoshka model; None for all.
    """

    kind: Kind
    model: str
    fingerprint: str
    dimension: int
    similarity: str
    truncate_dim: int | None = None

    def check_fingerprint(self, model: str, fingerprint: str, where: str) -> None:
        """Refuse a model other than this one, before it is loaded.

        Args:
            model: the model at hand.
            fingerprint: its fingerprint.
            where: the index, for the error message.

        Raises:
            SearchError: it is another model.
        """
        if fingerprint != self.fingerprint:
            raise SearchError(
                f"{where}: was built with another {self.kind} model: {self.model} had the fingerprint "
                f"{self.fingerprint}, and {model} has {fingerprint}, so their vectors cannot be compared. "
                "Give the model of the index, or build another index with --to."
            )

    def check_same(self, other: EncoderRecord, where: str) -> None:
        """Refuse vectors that cannot be compared with those of this record; see :meth:`check_fingerprint`."""
        self.check_fingerprint(other.model, other.fingerprint, where)
        if self != attrs.evolve(other, model=self.model):
            raise SearchError(
                f"{where}: has {self.kind} vectors of {self.dimension} dimensions ({self.similarity}), not "
                f"of {other.dimension} ({other.similarity}). Give the same --truncate-dim as when it was "
                "built, or build another index with --to."
            )


@attrs.frozen(kw_only=True)
class IndexManifest:
    """What an index holds of every document.

    Attributes:
        dense: the model of the dense vectors, or None.
        sparse: the model of the sparse vectors, or None.
        bm25: whether documents can be searched by words.
    """

    dense: EncoderRecord | None = None
    sparse: EncoderRecord | None = None
    bm25: bool = False

    @property
    def retrievers(self) -> tuple[str, ...]:
        """The ways to search: of ``dense``, ``sparse`` and ``bm25`` those that the index has."""
        return tuple(name for name in ("dense", "sparse", "bm25") if getattr(self, name))

    def to_json(self) -> str:
        """Return the manifest as JSON."""
        return json.dumps({"format": FORMAT, **attrs.asdict(self)})

    @classmethod
    def from_json(cls, text: str, where: str) -> IndexManifest:
        """Read a manifest.

        Args:
            text: the JSON.
            where: the index, for the error message.

        Raises:
            SearchError: it is no manifest, or that of another version.
        """
        try:
            tree: dict[str, Any] = json.loads(text)
            version = tree.pop("format")
            manifest = cls(
                dense=_record(tree.pop("dense")), sparse=_record(tree.pop("sparse")), bm25=tree.pop("bm25")
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SearchError(f"{where}: its description cannot be read ({error}); build it again") from error
        if version != FORMAT:
            raise SearchError(f"{where}: is an index of version {version}, not {FORMAT}; build it again")
        return manifest

    def check_same(self, given: IndexManifest, where: str) -> None:
        """Refuse models whose vectors cannot be compared with those of this index.

        Args:
            given: what the index would be built with now.
            where: the index, for the error message.

        Raises:
            SearchError: something differs.
        """
        for kind in ("dense", "sparse"):
            own, other = getattr(self, kind), getattr(given, kind)
            if own is None and other is None:
                continue
            if own is None or other is None:
                has = (
                    f"no {kind} vectors, but {other.model} gives such"
                    if own is None
                    else (f"{kind} vectors of {own.model}, but no such model is given")
                )
                raise SearchError(
                    f"{where}: has {has}. Give the same models as when it was built, or build another index "
                    "with --to."
                )
            own.check_same(other, where)
        if self.bm25 != given.bm25:
            raise SearchError(
                f"{where}: was built {'with' if self.bm25 else 'without'} --bm25; do the same now, or build "
                "another index."
            )


def _record(tree: dict[str, Any] | None) -> EncoderRecord | None:
    return None if tree is None else EncoderRecord(**tree)
