"""The models of an index: their identity, which needs no torch, and the vectors of documents and queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

import attrs
import numpy as np

from ultra_train.hf.errors import describe_error
from ultra_train.search.errors import SearchError
from ultra_train.search.fingerprint import fingerprint
from ultra_train.search.manifest import EncoderRecord, Kind
from ultra_train.search.sparse_vectors import SparseVector, rows_of


@attrs.frozen
class ModelIdentity:
    """A model before it is loaded.

    Attributes:
        model: where it is found again: the absolute path of its folder, or its name on the hub.
        folder: the folder that holds its files.
        kind: whether its vectors are dense or sparse.
        fingerprint: hash of its weights, configuration and prompts.
    """

    model: str
    folder: Path
    kind: Kind
    fingerprint: str


def identify(model: str) -> ModelIdentity:
    """Find a model and read what it is, without loading it.

    Raises:
        UltraError: there is no such model, or it is neither a dense nor a sparse encoder.
    """
    from ultra_train.embeddings.loading import find

    name, kind = find(model)
    if kind not in get_args(Kind):
        raise SearchError(
            f"{model}: is a {kind} model; texts get vectors from a dense or a sparse encoder, which the "
            "tasks sbert, splade, inference_free_splade and csr train"
        )
    folder = Path(name) if Path(name).is_dir() else _from_hub(name)
    lasting = str(folder.resolve()) if Path(name).is_dir() else name
    return ModelIdentity(lasting, folder, cast("Kind", kind), fingerprint(folder))


def _from_hub(name: str) -> Path:
    """Return the folder of the copy of a model of the hub, which is fetched if there is none."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, ignore_patterns=["onnx/*", "openvino/*"]))
    except Exception as error:  # the hub client raises errors of many libraries
        raise SearchError(f"{name}: cannot be fetched from the hub ({describe_error(error)})") from error


def identify_all(models: Sequence[str]) -> dict[Kind, ModelIdentity]:
    """Identify at most one dense and one sparse model.

    Raises:
        SearchError: two models are of the same kind.
    """
    found: dict[Kind, ModelIdentity] = {}
    for identity in map(identify, models):
        if identity.kind in found:
            raise SearchError(
                f"{found[identity.kind].model} and {identity.model} are both {identity.kind}; an index holds "
                "the vectors of one dense and one sparse model"
            )
        found[identity.kind] = identity
    return found


@attrs.frozen(kw_only=True)
class EncodingOptions:
    """How texts are encoded.

    Attributes:
        device: where the model runs, such as ``cuda``; None lets torch choose.
        batch_size: texts that are encoded at once.
        truncate_dim: leading dimensions to keep of a dense Matryoshka model; None for all.
        trust_remote_code: run code that comes with the model.
    """

    device: str | None = None
    batch_size: int = 32
    truncate_dim: int | None = None
    trust_remote_code: bool = False


class Encoder:
    """A loaded model that gives the vectors of an index.

    Args:
        identity: the model.
        options: how texts are encoded.

    Attributes:
        model: the ``SentenceTransformer`` or ``SparseEncoder``.
        record: what an index keeps about it.

    Raises:
        UltraError: the model cannot be loaded, or has fewer dimensions than are asked for.
    """

    def __init__(self, identity: ModelIdentity, options: EncodingOptions) -> None:
        from ultra_train.embeddings.loading import load_encoder

        self.model: Any = load_encoder(
            str(identity.folder), device=options.device, trust_remote_code=options.trust_remote_code
        )
        self._options = options
        truncate_dim = options.truncate_dim if identity.kind == "dense" else None
        dimension = self.model.get_embedding_dimension() or len(self.model.tokenizer)
        if truncate_dim is not None and truncate_dim > dimension:
            raise SearchError(
                f"{identity.model}: has {dimension} dimensions, so {truncate_dim} cannot be kept of them"
            )
        similarity = str(self.model.similarity_fn_name or "cosine")
        if similarity == "manhattan":
            raise SearchError(f"{identity.model}: compares by Manhattan distance, which no index supports")
        self.record = EncoderRecord(
            kind=identity.kind,
            model=identity.model,
            fingerprint=identity.fingerprint,
            dimension=truncate_dim or dimension,
            similarity=similarity,
            truncate_dim=truncate_dim,
        )

    def documents(self, texts: Sequence[str]) -> list[Any]:
        """Return the vectors of documents for an index: lists of numbers, or sparse vectors.

        Raises:
            SearchError: a vector has a number that is not finite.
        """
        return _for_index(self.encode(texts))

    def queries(self, texts: Sequence[str]) -> list[Any]:
        """Return the vectors of queries for an index; see :meth:`documents`."""
        return _for_index(self.encode(texts, query=True))

    def encode(self, texts: Sequence[str], *, query: bool = False) -> np.ndarray | list[SparseVector]:
        """Return the vectors of texts.

        Args:
            texts: the texts.
            query: whether they are queries rather than documents.

        Returns:
            of a dense model an array (texts, dimensions) in float32, of a sparse one a vector for every text.

        Raises:
            SearchError: a vector has a number that is not finite.
        """
        encode = self.model.encode_query if query else self.model.encode_document
        common = {"batch_size": self._options.batch_size, "show_progress_bar": False}
        unit = self.record.similarity == "cosine"
        if self.record.kind == "sparse":
            found = rows_of(
                encode(list(texts), convert_to_sparse_tensor=True, save_to_cpu=True, **common), unit=unit
            )
            for vector in found:
                _check_finite(vector.values, self.record.model)
            return found
        truncate_dim = self.record.truncate_dim
        dense = encode(list(texts), truncate_dim=truncate_dim, normalize_embeddings=unit, **common)
        _check_finite(dense, self.record.model)
        return np.asarray(dense, dtype=np.float32)


def _for_index(vectors: np.ndarray | list[SparseVector]) -> list[Any]:
    return vectors.tolist() if isinstance(vectors, np.ndarray) else vectors


def _check_finite(values: np.ndarray, model: str) -> None:
    if not np.isfinite(values).all():
        raise SearchError(f"{model}: gives vectors with numbers that are not finite; the model is damaged")
