"""Decoupled weight decay: plain, cautious, or corrected for the learning-rate schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from ultra_optim.engine.operations import Number, subtract_part_

DecayRule = Literal["plain", "cautious", "corrected"]
"""The option ``decay_rule`` of every optimizer with decoupled decay. With d the direction, p <- p - lr d:

- ``plain``: p <- (1 - lr wd) p.
- ``cautious`` (Chen et al. 2025, arXiv 2510.12402): only for elements whose step does not point away from
  zero, d p >= 0; elsewhere decay would work against the loss.
- ``corrected`` (AdamC, Defazio 2025, arXiv 2506.02285): p <- (1 - lr wd lr / peak) p, where peak is the
  largest learning rate so far, in groups of kind ``matrix``, ``expert`` or ``conv`` and in groups without
  kind; plain in all others. For weights that a norm follows, the ratio of gradient to weight then stays
  constant while the learning rate falls.
"""

NORMALIZED_KINDS = frozenset({"matrix", "expert", "conv"})
"""Kinds of weights whose scale a norm removes; that of a head matters, and an embedding may be tied to it."""


def note_peak(group: dict[str, Any]) -> None:
    """Record the learning rate of a new group as its peak, before a schedule starts below it."""
    if group.get("decay_rule") == "corrected":
        group.setdefault("peak_lr", float(group["lr"]))


def decay_numbers(group: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments ``decay`` and ``cautious`` of :func:`decay_` for this step of a group.

    Where the rule is ``corrected``, the largest learning rate so far is recorded in the group as ``peak_lr``.
    """
    lr: float = group["lr"]
    decay: float = lr * group["weight_decay"]
    rule = group.get("decay_rule", "plain")
    if rule == "corrected":
        peak = group["peak_lr"] = max(group.get("peak_lr", lr), lr)
        if group.get("kind", "matrix") in NORMALIZED_KINDS and peak > 0:
            decay *= lr / peak
    return {"decay": decay, "cautious": rule == "cautious"}


def decay_(
    params: list[Tensor], directions: Sequence[Tensor], *, decay: Number | list[Tensor], cautious: bool
) -> None:
    """p <- (1 - decay) p in place, before the step.

    Args:
        params: the parameters.
        directions: tensors with the signs of d; read only if ``cautious``.
        decay: lr wd, times lr / peak if corrected: one number, or a tensor of one element for each parameter.
        cautious: leave elements with d p < 0 as they are.
    """
    if isinstance(decay, float) and decay == 0.0:
        return
    if not cautious:
        subtract_part_(params, decay)
        return
    parts: list[Any] = decay if isinstance(decay, list) else [decay] * len(params)
    for p, d, part in zip(params, directions, parts, strict=True):
        p.sub_((p * d).ge_(0).mul_(p).mul_(part))
