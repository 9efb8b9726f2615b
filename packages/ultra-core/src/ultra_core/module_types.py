"""What the type of a torch module says about its parameters; this module does not import torch.

Blocks and optimizers share it without importing each other.
"""

from __future__ import annotations

from typing import Any

NORMS = frozenset({"LayerNorm", "RMSNorm", "GroupNorm", "_NormBase"})
"""Norms of ``torch.nn``; the last is the base of batch and instance norms."""

OTHERS = frozenset({"Embedding", "EmbeddingBag", "_ConvNd", "PReLU", "Linear"})
"""Modules of ``torch.nn`` that have a weight and are no norms."""


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


def _is_one_of(module: Any, names: frozenset[str] | set[str]) -> bool:
    """Whether the class of a module, or one that it derives from, is one of these classes of ``torch.nn``."""
    return any(
        cls.__name__ in names and cls.__module__.startswith("torch.nn.") for cls in type(module).__mro__
    )
