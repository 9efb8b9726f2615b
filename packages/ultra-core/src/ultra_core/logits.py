"""What an attention block tells an optimizer that bounds its logits; no torch here."""

from __future__ import annotations

from typing import Any, Literal, Protocol, get_args, runtime_checkable

import attrs

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
