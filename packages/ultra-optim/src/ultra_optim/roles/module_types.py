"""Descriptions of parameters from the types of their modules, never from their names."""

from __future__ import annotations

import re
from typing import Any, cast

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ultra_core.contracts import ParamInfo
from ultra_core.module_types import is_linear, is_norm

_ATTENTION_CLASS = re.compile(r".*Attention\d*")


FUSED: dict[str, dict[str, int]] = {
    "ModernBertAttention": {"Wqkv.weight": 3},
    "ModernBertMLP": {"Wi.weight": 2},
}
"""Classes of transformers with several equal matrices stacked in one Linear, and their number."""

FUSED_IN_HEADS: dict[str, dict[str, int]] = {"DisentangledSelfAttention": {"in_proj.weight": 3}}
"""Classes that stack them for each head, as DeBERTa's first version; the second has separate matrices."""


def is_attention(module: nn.Module) -> bool:
    """Whether the class or a base class is called ``...Attention``, as in transformers."""
    return any(_ATTENTION_CLASS.fullmatch(cls.__name__) for cls in type(module).__mro__)


def infer(module: nn.Module, *, attention: bool) -> dict[str, ParamInfo]:
    """Describe the direct parameters of a module by its type.

    Tensors of an unknown module are updated element by element (kind ``vector``), because an unknown table
    must not be orthogonalised. They decay if they have at least two dimensions.

    Args:
        module: the module.
        attention: whether it is, or is part of, an attention module, which sets the role.
    """
    own = dict(module.named_parameters(recurse=False, remove_duplicate=False))
    role = "attention" if attention else "other"
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return {name: ParamInfo(role="embeddings", kind="embedding") for name in own}
    if is_norm(module):
        return {name: ParamInfo(role="norms", kind="vector", decay=name != "bias") for name in own}
    found = {}
    for name, parameter in own.items():
        info = ParamInfo(role=role, kind="vector", decay=parameter.ndim > 1)
        if isinstance(module, _ConvNd) and parameter.ndim > 1:
            info = ParamInfo(role=role, kind="conv")
        elif isinstance(module, nn.MultiheadAttention) and name.endswith("proj_weight"):
            blocks = (module.embed_dim,) * 3 if name == "in_proj_weight" else ()
            info = ParamInfo(role=role, kind="matrix", row_blocks=blocks)
        elif is_linear(module) and name == "weight" and parameter.ndim == 2:
            info = ParamInfo(role=role, kind="matrix")
        found[name] = info
    return found


def fused(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the row blocks of the fused projections of a module, by dotted parameter name."""
    cls = type(module).__name__
    parts = dict(FUSED.get(cls, {}))
    own = dict(module.named_parameters())
    for name, count in FUSED_IN_HEADS.get(cls, {}).items():
        if name in own:  # another class of this name has separate matrices
            parts[name] = count * int(cast(Any, module).num_attention_heads)
    return {name: (own[name].shape[0] // count,) * count for name, count in parts.items()}


def heads(model: nn.Module) -> set[int]:
    """Return the ids of the output weights of a transformers model, for the vocabulary or for labels.

    These are ``get_output_embeddings()`` of every model inside, and each Linear outside its
    ``base_model`` with ``config.num_labels`` outputs.
    """
    found: set[int] = set()
    for module in model.modules():
        if not (hasattr(module, "base_model_prefix") and hasattr(module, "config")):
            continue
        pretrained = cast(Any, module)  # a transformers.PreTrainedModel, without importing transformers
        output = pretrained.get_output_embeddings()
        if isinstance(output, nn.Module):
            found.update(id(p) for p in output.parameters(recurse=False) if p.ndim > 1)
        body = set(pretrained.base_model.modules())
        labels = getattr(pretrained.config, "num_labels", None)
        for child in module.modules():
            if child not in body and isinstance(child, nn.Linear) and child.out_features == labels:
                found.add(id(child.weight))
    return found
