"""Linear layers that look like output heads, which a matrix optimizer would orthogonalise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ultra_core.contracts import ParamInfo
from ultra_core.module_types import is_norm

SMALL_TABLE = 16
"""Embeddings of so few rows, as for segments, say nothing about the size of an output."""

MUCH_LARGER = 4
"""Outputs for each input, above which the last Linear of a model is taken for its head."""


def possible_heads(model: nn.Module, infos: Mapping[str, ParamInfo]) -> dict[str, str]:
    """Return the weights of kind ``matrix`` that look like output heads, with the reason.

    A head is an ``nn.Linear`` whose outputs no other Linear and no norm takes: not the up-projection of a
    feed-forward network, nor a fused projection of two or three parts. It has as many outputs as an embedding
    has rows, or is the last Linear and has more than :data:`MUCH_LARGER` times as many outputs as inputs.
    Weights that ``parameter_info()`` of a module describes are left out, as their kind is no guess.

    Args:
        model: the model.
        infos: the description of its parameters, see :func:`ultra_optim.describe`.
    """
    modules = dict(model.named_modules())
    linears = {name: each for name, each in modules.items() if isinstance(each, nn.Linear)}
    taken = {linear.in_features for linear in linears.values()}
    taken |= {p.numel() for each in modules.values() if is_norm(each) for p in each.parameters(recurse=False)}
    tables = {each.num_embeddings for each in modules.values() if isinstance(each, nn.Embedding)}
    described = _described(modules)
    found = {}
    for name, linear in linears.items():
        weight, rows = f"{name}.weight" if name else "weight", linear.out_features
        parts = {rows // count for count in (1, 2, 3) if rows % count == 0}
        guessed = weight in infos and infos[weight].kind == "matrix" and weight not in described
        if not guessed or parts & taken:
            continue
        if rows > SMALL_TABLE and rows in tables:
            found[weight] = f"its {rows} outputs are as many as an embedding has rows"
        elif name == list(linears)[-1] and rows > MUCH_LARGER * linear.in_features:
            found[weight] = f"it is the last Linear, with {rows} outputs for {linear.in_features} inputs"
    return found


def _described(modules: Mapping[str, Any]) -> set[str]:
    """Return the names of all parameters that a module describes itself."""
    return {
        f"{path}.{name}" if path else name
        for path, module in modules.items()
        if callable(getattr(module, "parameter_info", None))
        for name in module.parameter_info()
    }
