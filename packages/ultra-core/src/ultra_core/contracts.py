"""What plugins declare: their parameters, their logits, and the bounds and sources of their options.

There is no torch here, so that blocks declare and optimizers read without importing each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

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


Part = Literal["query", "key", "lone_query"]

PARTS: tuple[str, ...] = get_args(Part)


@attrs.frozen(kw_only=True)
class LogitRows:
    """Rows of one parameter in which the logits of heads are linear, one head after the other.

    The logits of head h are a sum of products, of ``query`` rows with ``key`` rows and of ``lone_query`` rows
    with keys that stay as they are. Multiplying the first two by a and b and the third by a b multiplies the
    logits by a b.

    Attributes:
        parameter: its dotted name inside the block; rows are along dimension 0. A shift is a parameter of
            its own.
        part: ``query``; ``key``, where each of G key heads serves H / G neighbouring heads;
            ``lone_query``: meets keys that heads share and that nobody scales.
        heads: how many heads stand in the rows: H, for ``key`` G.
        width: rows of one head.
        start: the first row.
    """

    parameter: str
    part: Part = attrs.field(validator=attrs.validators.in_(PARTS))
    heads: int = attrs.field(validator=attrs.validators.ge(1))
    width: int = attrs.field(validator=attrs.validators.ge(1))
    start: int = attrs.field(default=0, validator=attrs.validators.ge(0))

    @property
    def stop(self) -> int:
        """The row after the last one."""
        return self.start + self.heads * self.width


@runtime_checkable
class RecordsLogits(Protocol):
    """A module whose attention logits an optimizer can read and bound.

    A logit is the product of a query and a key as the softmax sees it, with positions applied and scaled, but
    before a cap and without what is added (biases, decays): what the rows of :meth:`logit_rows` scale.
    """

    def record_logits(self, enabled: bool) -> None:
        """Begin or end to record; recording changes no output, and while it is off it costs nothing.

        Recorded is what is computed in training mode with gradients, over all forward passes until the
        maxima are taken.
        """

    def take_max_logits(self) -> Any:
        """Return the largest logit of every head since it was last taken, a tensor ``(H,)``, and forget it.

        Over pairs that attend: of real tokens, of one document, not masked; -inf where there were none. None
        when nothing was recorded.
        """

    def logit_rows(self) -> tuple[LogitRows, ...]:
        """Return what the logits are linear in; nothing where they are not, as with normed q and k."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Bounds of a number; ``gt`` and ``lt`` are exclusive, ``min`` and ``max`` inclusive."""

    min: float | None = None
    max: float | None = None
    gt: float | None = None
    lt: float | None = None

    def __contains__(self, value: float) -> bool:
        """Whether the value lies inside; NaN never does."""
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
    """The parameter takes its value from this field of the model config unless the preset sets it."""

    field: str
