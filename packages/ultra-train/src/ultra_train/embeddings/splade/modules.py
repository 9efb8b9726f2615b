"""The modules of a SPLADE encoder."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sparse_encoder.modules import SpladePooling
from torch import nn

from ultra_train.hf.vocabulary import num_embeddings


def set_dimensions(encoder: nn.Module) -> None:
    """Tell every ``SpladePooling`` its dimension, which it would learn from its first batch."""
    for transformer, pooling in splade_pairs(encoder):
        if pooling.embedding_dimension is None:
            pooling.embedding_dimension = num_embeddings(transformer.model)


def splade_pairs(encoder: nn.Module) -> Iterator[tuple[Transformer, SpladePooling]]:
    """Yield every ``Transformer`` with the ``SpladePooling`` behind it, also inside of a ``Router``."""
    modules = list(encoder.children())
    for first, second in pairwise(modules):
        if isinstance(first, Transformer) and isinstance(second, SpladePooling):
            yield first, second
    for module in modules:
        if isinstance(module, Router):
            for route in module.sub_modules.values():
                yield from splade_pairs(route)
