"""The parameters of a model by part, and the units into which they can be sharded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from torch import nn

from ultra_blocks.encoder.stack import Encoder, EncoderLayer


def parameters_by_part(model: nn.Module) -> dict[str, int]:
    """Return the number of parameters of embeddings, each kind of block, FFNs, norms and the rest.

    Tied parameters count once, with the part that comes first. Layers of a base model are not divided.
    """
    counted: Counter[str] = Counter()
    seen: set[int] = set()
    for part, module in _parts(model):
        for parameter in module.parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                counted[part] += parameter.numel()
    return dict(counted)


def _parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    encoder = next((m for m in model.modules() if isinstance(m, Encoder)), None)
    if encoder is not None:
        yield "embeddings", encoder.embeddings
        for layer, (name, _) in zip(encoder.layers, encoder.config.layers(), strict=True):
            assert isinstance(layer, EncoderLayer)
            yield f"block {name}", layer.mixer
            yield "FFN", layer.ffn
        yield "norms", encoder
        yield "head", model
        return
    foreign: Any = model
    embeddings = foreign.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    if isinstance(embeddings, nn.Module):
        yield "embeddings", embeddings
    for unit in units(model):
        yield "layers", unit
    yield "head and other", model


def units(model: nn.Module) -> list[nn.Module]:
    """Return the layers of a model, which are sharded one by one: the members of its largest lists."""
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m)]
    outer = [one for one in lists if not any(one is not other and _inside(one, other) for other in lists)]
    return [layer for one in outer for layer in one]


def _inside(module: nn.Module, other: nn.Module) -> bool:
    return any(module is each for each in other.modules())


def unit_sizes(model: nn.Module) -> tuple[int, int]:
    """Return the parameters of the largest layer, and of everything that is in no layer."""
    layers = units(model)
    sizes = [sum(p.numel() for p in layer.parameters()) for layer in layers]
    inside = {id(p) for layer in layers for p in layer.parameters()}
    outside = sum(p.numel() for p in model.parameters() if id(p) not in inside)
    return max(sizes, default=0), outside
