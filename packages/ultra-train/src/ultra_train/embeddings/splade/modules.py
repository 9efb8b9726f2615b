"""The modules of a SPLADE encoder."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sparse_encoder.modules import SpladePooling
from torch import nn


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
