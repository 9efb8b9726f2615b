"""What plugins declare: their parameters, their attention logits, bounds and sources of their options.

This module does not import torch, and blocks and optimizers share it without importing each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import attrs

Kind = Literal["matrix", "vector", "embedding", "head", "gate", "conv", "router", "expert"]

PARAMETER_KINDS: tuple[str, ...] = get_args(Kind)

SEED_ROLES: tuple[str, ...] = ("embeddings", "norms", "ode", "retnet", "mamba", "attention", "other")
"""The learning-rate groups that every preset may set; a plugin may add its own role."""


@attrs.frozen(kw_only=True)
class ParamInfo:
    """The description of one parameter by its module.

    A module describes its direct parameters in a method ``parameter_info(self) -> dict[str, ParamInfo]``,
    keyed by attribute name.

    Attributes:
        role: learning-rate group; an open set with ``embeddings``, ``norms``, ``ode``, ``retnet``,
            ``mamba``, ``attention``, ``other``.
        kind: what the tensor is, which decides whether an optimizer may orthogonalise or factorise it.
        decay: whether weight decay applies to it; False for biases, gates and decay rates.
        row_blocks: sizes along dimension 0 of the matrices that are stacked in a fused projection (query,
            key, value); empty when the tensor is a single matrix.
        expert_dim: the dimension that indexes experts in a stacked expert tensor, else None.
    """

    role: str = "other"
    kind: Kind = attrs.field(default="matrix", validator=attrs.validators.in_(PARAMETER_KINDS))
    decay: bool = True
    row_blocks: tuple[int, ...] = ()
    expert_dim: int | None = None


Part = Literal["query", "key", "lone_query"]

PARTS: tuple[str, ...] = get_args(Part)


@attrs.frozen(kw_only=True)
class LogitRows:
    """Rows of one parameter in which the attention logits of consecutive heads are linear.

    The logits of head h are a sum of products: of ``query`` with ``key`` rows, and of ``lone_query`` rows
    with keys that are never scaled. Multiplying these by a, b and a b, respectively, multiplies the logits
    by a b.

    Attributes:
        parameter: dotted name of the parameter in the block; rows are along dimension 0. A bias is a
            parameter of its own.
        part: ``query``; ``key``, where each of G key heads serves H / G consecutive heads; or
            ``lone_query``, for keys that all heads share and that are never scaled.
        heads: number of heads in the rows: H, or G for ``key``.
        width: number of rows per head.
        start: index of the first row.
    """

    parameter: str
    part: Part = attrs.field(validator=attrs.validators.in_(PARTS))
    heads: int = attrs.field(validator=attrs.validators.ge(1))
    width: int = attrs.field(validator=attrs.validators.ge(1))
    start: int = attrs.field(default=0, validator=attrs.validators.ge(0))

    @property
    def stop(self) -> int:
        """Index after the last row."""
        return self.start + self.heads * self.width


@runtime_checkable
class RecordsLogits(Protocol):
    """A module whose attention logits an optimizer can read and bound.

    A logit is the scaled product of a query and a key with position encodings applied, as the softmax gets
    it, but before soft-capping and without additive terms (biases, decays).
    """

    def record_logits(self, enabled: bool) -> None:
        """Start or stop recording, which changes no output and costs nothing while it is off.

        Maxima are over all forward passes in training mode with gradients enabled, until they are read.
        """

    def take_max_logits(self) -> Any:
        """Return the largest logit of each head since the last call, a tensor ``(H,)``, and reset it.

        Only pairs that attend to each other count: real tokens of one document that are not masked; -inf when
        there are none. None when nothing was recorded.
        """

    def logit_rows(self) -> tuple[LogitRows, ...]:
        """Return the rows in which the logits are linear; none when they are not, as with QK-norm."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Bounds of a number; ``gt`` and ``lt`` are exclusive, ``min`` and ``max`` inclusive."""

    min: float | None = None
    max: float | None = None
    gt: float | None = None
    lt: float | None = None

    def __contains__(self, value: float) -> bool:
        """Whether the value is within the bounds; NaN never is."""
        return (
            not math.isnan(value)
            and (self.min is None or value >= self.min)
            and (self.max is None or value <= self.max)
            and (self.gt is None or value > self.gt)
            and (self.lt is None or value < self.lt)
        )

    def __str__(self) -> str:
        signs = ((">=", self.min), (">", self.gt), ("<=", self.max), ("<", self.lt))
        finite = [f"{sign} {bound:g}" for sign, bound in signs if bound is not None and math.isfinite(bound)]
        return " and ".join(finite) or "that is finite"


@dataclass(frozen=True)
class FromModel:
    """Marks a parameter that takes its value from a field of the model config unless the preset sets it."""

    field: str
