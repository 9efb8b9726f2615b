"""Adam's update and the numbers it takes, for Adam's relatives and for the AdamW part of matrix methods."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ultra_optim.engine.compilation import compilable
from ultra_optim.engine.decay import decay_
from ultra_optim.engine.operations import (
    Number,
    Tensors,
    fit_fused_kernel,
    lerp,
    lerp_,
    square_average_,
    subtract_part_,
)

KEEP = 2.0**-53
"""Weight of a new value in an average that must not change; torch's fused kernel does not accept 0."""

_NO_CORRECTION = torch.tensor(float("inf"))
"""A step count whose bias corrections are 1."""

FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})


def adam_numbers(step: int, *, lr: float, beta1: float, beta2: float, eps: float) -> dict[str, float]:
    """Return the numbers of :func:`adamw_update` for the step of this count, bias corrections included."""
    correction = (1 - beta2**step) ** 0.5
    return {
        "step_size": lr * correction / (1 - beta1**step),
        "w1": 1 - beta1,
        "w2": 1 - beta2,
        "eps": eps * correction,
    }


def direction_numbers(step: int, *, beta2: float, eps: float, beta1: float = 0.0) -> dict[str, float]:
    """Return the numbers with which :func:`adam_` adds Adam's direction to a tensor."""
    correction = (1 - beta2**step) ** 0.5
    return {"step_size": -correction / (1 - beta1**step), "w2": 1 - beta2, "eps": eps * correction}


@compilable
def adamw_update(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    *,
    step_size: Number,
    w1: Number,
    w2: Number,
    eps: Number,
    decay: Number = 0.0,
    cautious: bool = False,
) -> None:
    """Take a step of AdamW: update parameters and moments in place.

    Args:
        params: parameters.
        grads: gradients.
        first: first moments.
        second: second moments.
        step_size: see :func:`adam_numbers`, like the next three.
        w1: 1 - b1.
        w2: 1 - b2.
        eps: added to the denominator.
        decay: see :func:`ultra_optim.engine.decay.decay_numbers`, like the next one.
        cautious: whether weight decay is cautious.
    """
    if cautious:
        decay_(params, lerp(first, grads, w1), decay=decay, cautious=True)
        decay = 0.0
    adam_(params, grads, first, second, step_size=step_size, w1=w1, w2=w2, eps=eps, decay=decay)


def adam_(
    params: Tensors,
    grads: Tensors,
    first: Tensors,
    second: Tensors,
    *,
    step_size: Number,
    w1: Number,
    w2: Number,
    eps: Number,
    decay: Number = 0.0,
) -> None:
    """Take a step of Adam without bias correction, in place.

    m <- (1 - w1) m + w1 g;  v <- (1 - w2) v + w2 g^2;  p <- (1 - decay) p - step_size m / (sqrt(v) + eps)

    On a CPU this is one call of torch's fused kernel, which takes less time than ``torch.sqrt`` alone. Other
    methods use it too: with ``w1`` :data:`KEEP`, any direction may take the place of m.
    """
    if isinstance(step_size, Tensor) or not fit_fused_kernel(params, grads, first, second):
        if not (isinstance(w1, float) and w1 == KEEP):
            lerp_(first, grads, w1)
        if not (isinstance(w2, float) and w2 == KEEP):
            square_average_(second, grads, w2)
        roots = torch._foreach_sqrt(second)
        for root in roots:
            root.add_(eps)
        if isinstance(decay, Tensor) or decay:
            subtract_part_(params, decay)
        if isinstance(step_size, Tensor):
            for p, m, root in zip(params, first, roots, strict=True):
                p.sub_(step_size * (m / root))
        else:
            torch._foreach_addcdiv_(params, first, roots, -step_size)
        return
    if step_size == 0.0 and decay:
        torch._foreach_mul_(params, 1 - decay)
    torch._fused_adamw_(
        params,
        grads,
        first,
        second,
        [],
        [_NO_CORRECTION] * len(params),
        lr=step_size,
        beta1=1 - w1,
        beta2=1 - w2,
        weight_decay=decay / step_size if step_size and decay else 0.0,
        eps=eps,
        amsgrad=False,
        maximize=False,
    )


def scaled_adam_step_(
    params: Tensors,
    grads: Tensors,
    first: Tensors,
    second: Tensors,
    factors: Tensors,
    *,
    step_size: Number,
    eps: Number,
    decay: Number = 0.0,
) -> None:
    """Take the step of :func:`adam_` with moments that are up to date, times the factor of each tensor.

    p <- (1 - factor decay) p - factor step_size m / (sqrt(v) + eps)
    """
    for p, g, m, v, factor in zip(params, grads, first, second, factors, strict=True):
        f = as_number(factor, step_size)
        adam_([p], [g], [m], [v], step_size=step_size * f, w1=KEEP, w2=KEEP, eps=eps, decay=decay * f)


def as_number(factor: Tensor, other: Number) -> Number:
    """Return the factor of a tensor as a float where that costs no synchronisation and no new code."""
    return factor if isinstance(other, Tensor) or factor.device.type != "cpu" else float(factor)


def adam_direction(
    grad: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    step: int,
    betas: tuple[float, float],
    eps: float,
    scale: float = 1.0,
) -> Tensor:
    """Update the moments of one tensor in place and return ``scale`` times Adam's direction."""
    first.lerp_(grad, 1 - betas[0])
    second.mul_(betas[1]).addcmul_(grad, grad, value=1 - betas[1])
    correction = (1 - betas[1] ** step) ** 0.5
    return (first / second.sqrt().add_(eps * correction)).mul_(scale * correction / (1 - betas[0] ** step))


def can_fuse(tensors: Iterable[Tensor]) -> bool:
    """Whether torch has a fused AdamW kernel for all of these parameters."""
    return all(t.is_floating_point() and t.device.type in FUSED_DEVICES for t in tensors)


def same_layout(params: Iterable[Tensor]) -> bool:
    """Whether every gradient has the memory layout of its parameter.

    torch's fused CPU kernels assume it, and pair the wrong elements otherwise.
    """
    return all(p.grad is None or p.grad.stride() == p.stride() for p in params)
