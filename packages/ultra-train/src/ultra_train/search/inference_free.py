"""Queries of an inference-free sparse encoder: the weights of their tokens, without torch or a network.

The document side of such a model is a transformer; its query side is one weight for every token of the
vocabulary (``SparseStaticEmbedding``). Only the tokenizer and these weights are read here, so that a search
starts at once (Formal et al., "SPLADE v2", 2021, section 3.3; Geng et al., "Towards Competitive Search
Relevance For Inference-Free Learned Sparse Retrievers", 2024).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ultra_train.search.sparse_vectors import SparseVector
from ultra_train.system import files

_STATIC = "SparseStaticEmbedding"
_WEIGHTS = "model.safetensors"


class StaticQueries:
    """Encodes queries by the weights of their tokens; see :func:`static_queries`.

    Args:
        tokenizer: a ``tokenizers.Tokenizer``.
        weights: (vocabulary,) weight of every token.
        prompt: text before every query.
        max_length: tokens after which a query is cut off, or None.
        max_active: greatest number of dimensions of a query that are not zero, or None.
    """

    def __init__(
        self,
        tokenizer: Any,
        weights: np.ndarray,
        *,
        prompt: str = "",
        max_length: int | None = None,
        max_active: int | None = None,
    ) -> None:
        self._tokenizer, self._weights = tokenizer, weights
        self._prompt, self._max_length, self._max_active = prompt, max_length, max_active

    def encode(self, query: str) -> SparseVector:
        """Return the weights of the tokens that occur in a query."""
        tokens = self._tokenizer.encode(self._prompt + query, add_special_tokens=False).ids
        found = {token: float(self._weights[token]) for token in tokens[: self._max_length]}
        by_weight = sorted((item for item in found.items() if item[1] != 0), key=lambda item: -abs(item[1]))
        return SparseVector.of(dict(by_weight[: self._max_active]))


def static_queries(folder: Path) -> StaticQueries | None:
    """Return the query side of an inference-free model, or None when queries need a network.

    Args:
        folder: the folder of a sparse encoder.
    """
    modules = files.read_json(folder / "modules.json")
    if len(modules) != 1 or not str(modules[0]["type"]).endswith(".Router"):
        return None
    router = folder / modules[0]["path"]
    config = files.read_json(router / "router_config.json")
    route = config["structure"].get("query", [])
    if len(route) != 1 or not config["types"][route[0]].endswith(f".{_STATIC}"):
        return None
    module = router / route[0]
    if not (module / "tokenizer.json").is_file() or not (module / _WEIGHTS).is_file():
        return None
    return _read(module, files.read_json(folder / "config_sentence_transformers.json"))


def _read(module: Path, settings: dict[str, Any]) -> StaticQueries:
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(module / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    length = files.read_json(module / "tokenizer_config.json").get("model_max_length")
    return StaticQueries(
        tokenizer,
        load_file(module / _WEIGHTS)["weight"],
        prompt=(settings.get("prompts") or {}).get("query") or "",
        max_length=int(length) if length is not None and length < 2**31 else None,
        max_active=settings.get("max_active_dims"),
    )
