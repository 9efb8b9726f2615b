"""What the type of a torch module says about its parameters; this module does not import torch.

Blocks and optimizers share it without importing each other.
"""

from __future__ import annotations

from typing import Any, Literal

NORMS = frozenset({"LayerNorm", "RMSNorm", "GroupNorm", "_NormBase"})
"""Norms of ``torch.nn``; the last is the base of batch and instance norms."""

OTHERS = frozenset({"Embedding", "EmbeddingBag", "_ConvNd", "PReLU", "Linear"})
"""Modules of ``torch.nn`` that have a weight and are no norms."""

_GATES = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3}
"""Recurrent layers of ``torch.nn``, and the number of matrices in each of their weights."""


def is_linear(module: Any) -> bool:
    """Whether a module is ``nn.Linear`` or a replacement: a quantised, low-rank or ternary layer."""
    return _is_one_of(module, {"Linear"}) or (
        hasattr(module, "in_features") and hasattr(module, "out_features")
    )


def is_norm(module: Any) -> bool:
    """Whether a module is a norm: one of torch's, or a module with only a gain vector and perhaps a bias.

    The second case recognises ``LlamaRMSNorm`` and similar classes, which have no common base class.
    """
    if _is_one_of(module, NORMS):
        return True
    if _is_one_of(module, OTHERS) or is_linear(module):
        return False
    own = dict(module.named_parameters(recurse=False))
    return (
        "weight" in own
        and own.keys() <= {"weight", "bias"}
        and all(parameter.ndim == 1 for parameter in own.values())
        and next(module.children(), None) is None
    )


def kind_by_type(module: Any) -> Literal["conv", "embedding"] | None:
    """Return the kind of the weight of a convolution or an embedding of ``torch.nn``; None for all others."""
    if _is_one_of(module, {"_ConvNd"}):
        return "conv"
    return "embedding" if _is_one_of(module, {"Embedding", "EmbeddingBag"}) else None


def stacked_in(module: Any, name: str) -> int:
    """Return the number of matrices of equal height that a parameter of a module of ``torch.nn`` stacks.

    These are queries, keys and values of ``MultiheadAttention``, and the gates of recurrent layers.
    """
    if _is_one_of(module, {"MultiheadAttention"}):
        return 3 if name == "in_proj_weight" else 1
    if is_recurrent(module) and name.startswith(("weight_ih", "weight_hh")):
        return next((count for kind, count in _GATES.items() if _is_one_of(module, {kind})), 1)
    return 1


def is_recurrent(module: Any) -> bool:
    """Whether a module is a recurrent layer or cell of ``torch.nn``."""
    return _is_one_of(module, {"RNNBase", "RNNCellBase"})


def _is_one_of(module: Any, names: frozenset[str] | set[str]) -> bool:
    """Whether the class of a module, or one that it derives from, is one of these classes of ``torch.nn``."""
    return any(
        cls.__name__ in names and cls.__module__.startswith("torch.nn.") for cls in type(module).__mro__
    )
