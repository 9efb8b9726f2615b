"""What a parameter is, said by the module that owns it and read by optimizers; no torch here."""

from __future__ import annotations

from typing import Literal, get_args

import attrs

Kind = Literal["matrix", "vector", "embedding", "head", "gate", "conv", "router", "expert"]

KINDS: tuple[str, ...] = get_args(Kind)

SEED_ROLES: tuple[str, ...] = ("embeddings", "norms", "ode", "retnet", "mamba", "attention", "other")
"""The learning-rate groups that every preset knows; a plugin may add its own role."""


@attrs.frozen(kw_only=True)
class ParamInfo:
    """One parameter, as its module describes it.

    A module describes its direct parameters with a method
    ``parameter_info(self) -> dict[str, ParamInfo]`` keyed by attribute name.

    Attributes:
        role: learning-rate group; an open set with ``embeddings``, ``norms``, ``ode``, ``retnet``,
            ``mamba``, ``attention``, ``other``.
        kind: what the tensor is, which decides who may orthogonalise or factor it.
        decay: whether weight decay may act on it at all; False for biases, gates and decays.
        row_blocks: sizes along dimension 0 of the logical matrices that a fused projection stacks
            (query, key, value); empty when the tensor is one matrix.
        expert_dim: the dimension that counts experts in a stacked expert tensor, else None.
    """

    role: str = "other"
    kind: Kind = attrs.field(default="matrix", validator=attrs.validators.in_(KINDS))
    decay: bool = True
    row_blocks: tuple[int, ...] = ()
    expert_dim: int | None = None
