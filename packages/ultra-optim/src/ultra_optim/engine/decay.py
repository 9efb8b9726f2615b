"""How decoupled weight decay acts: plainly, cautiously, or corrected for the schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from ultra_optim.engine.operations import Number, shrink_

DecayRule = Literal["plain", "cautious", "corrected"]
"""The option ``decay_rule`` of every optimizer with decoupled decay. With d the direction, p <- p - lr d:

- ``plain``: p <- (1 - lr wd) p.
- ``cautious`` (Chen et al. 2025, arXiv 2510.12402): only where the step does not point away from zero,
  d p >= 0; elsewhere decay would work against the loss.
- ``corrected`` (AdamC, Defazio 2025, arXiv 2506.02285): p <- (1 - lr wd lr / peak) p with the peak of the
  learning rate, in groups of kind ``matrix``, ``expert`` or ``conv`` or of no kind, the others plainly.
  Under a norm this keeps the ratio of gradient to weight while the rate falls.
"""

NORMALIZED_KINDS = frozenset({"matrix", "expert", "conv"})
"""Kinds of weights whose scale a norm takes away; a head's scale counts, an embedding may be tied to one."""


def note_peak(group: dict[str, Any]) -> None:
    """Keep the learning rate of a new group as its peak, before a schedule starts below it."""
    if group.get("decay_rule") == "corrected":
        group.setdefault("peak_lr", group["lr"])


def decay_numbers(group: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments ``shrink`` and ``cautious`` of :func:`decay_` for this step of a group.

    The largest learning rate so far is kept in the group as ``peak_lr`` where the rule is ``corrected``.
    """
    rate: float = group["lr"]
    shrink: float = rate * group["weight_decay"]
    rule = group.get("decay_rule", "plain")
    if rule == "corrected":
        peak = group["peak_lr"] = max(group.get("peak_lr", rate), rate)
        if group.get("kind", "matrix") in NORMALIZED_KINDS and peak > 0:
            shrink *= rate / peak
    return {"shrink": shrink, "cautious": rule == "cautious"}


def decay_(
    params: list[Tensor], directions: Sequence[Tensor], *, shrink: Number | list[Tensor], cautious: bool
) -> None:
    """Take the part ``shrink`` off the parameters in place, before the step.

    Args:
        params: the parameters.
        directions: tensors with the signs of d; read only if ``cautious``.
        shrink: lr wd, times lr / peak if corrected; one number, or a tensor of one for each parameter.
        cautious: leave elements alone where d p < 0.
    """
    if isinstance(shrink, float) and shrink == 0.0:
        return
    if not cautious:
        shrink_(params, shrink)
        return
    parts: list[Any] = shrink if isinstance(shrink, list) else [shrink] * len(params)
    for p, d, part in zip(params, directions, parts, strict=True):
        p.sub_((p * d).ge_(0).mul_(p).mul_(part))
