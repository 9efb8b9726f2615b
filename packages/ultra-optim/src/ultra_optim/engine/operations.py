"""Operations on lists of tensors whose numbers may be tensors, as in updates that are compiled once for all.

``torch._foreach_*`` takes most numbers as Python floats only, and each new float would be compiled anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ultra_optim.engine.threads import PLAIN

Number: TypeAlias = Any
"""A float, or a tensor of one element where an update is compiled."""

Tensors: TypeAlias = list[Tensor] | tuple[Tensor, ...]

KEEP = 2.0**-53
"""Weight of a new value in an average that is to stay what it is: torch's kernel takes none of 0."""

_FOREVER = torch.tensor(float("inf"))


def lerp(xs: Tensors, ys: Tensors, weight: Number) -> list[Tensor]:
    """Return x + weight (y - x) of each pair."""
    if isinstance(weight, Tensor):
        return [_between(x, y, weight) for x, y in zip(xs, ys, strict=True)]
    return list(torch._foreach_lerp(xs, ys, weight))


def lerp_(xs: Tensors, ys: Tensors, weight: Number) -> None:
    """x <- x + weight (y - x)."""
    if isinstance(weight, Tensor):
        for x, y in zip(xs, ys, strict=True):
            x.copy_(_between(x, y, weight))
    else:
        torch._foreach_lerp_(xs, ys, weight)


def _between(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return what ``torch.lerp`` does: x where they are equal, and y for a weight of 1, exactly."""
    small = weight < 0.5
    return torch.where(small, x, y) + torch.where(small, weight, weight - 1) * (y - x)


def add(xs: Tensors, ys: Tensors, weight: Number) -> list[Tensor]:
    """Return x + weight y of each pair."""
    if isinstance(weight, Tensor):
        return [x + y * weight for x, y in zip(xs, ys, strict=True)]
    return list(torch._foreach_add(xs, ys, alpha=weight))


def add_(xs: Tensors, ys: Tensors, weight: Number) -> None:
    """x <- x + weight y."""
    if isinstance(weight, Tensor):
        for x, y in zip(xs, ys, strict=True):
            x.add_(y * weight)
    else:
        torch._foreach_add_(xs, ys, alpha=weight)


def scaled(xs: Tensors, factor: Number) -> list[Tensor]:
    """Return factor x of each."""
    if isinstance(factor, Tensor):
        return [x * factor for x in xs]
    return list(torch._foreach_mul(xs, factor))


def scale_(xs: Tensors, factor: Number) -> None:
    """x <- factor x."""
    if isinstance(factor, Tensor):
        for x in xs:
            x.mul_(factor)
    else:
        torch._foreach_mul_(xs, factor)


def shrink_(xs: Tensors, part: Number) -> None:
    """x <- x - part x; in one rounding where products are fused, while 1 - part loses most of a small one."""
    if isinstance(part, Tensor):
        for x in xs:
            x.sub_(x * part)
    else:
        torch._foreach_mul_(xs, 1 - part)


def copy_(xs: Tensors, ys: Tensors) -> None:
    """x <- y; one by one, since DTensors have no other way."""
    for x, y in zip(xs, ys, strict=True):
        x.copy_(y)


def square_average_(xs: Tensors, ys: Tensors, weight: Number) -> None:
    """x <- (1 - weight) x + weight y^2."""
    if isinstance(weight, Tensor):
        for x, y in zip(xs, ys, strict=True):
            x.sub_(x * weight).add_(
                y * weight * y
            )  # no square that overflows, nothing left for a weight of 1
    else:
        torch._foreach_mul_(xs, 1 - weight)
        torch._foreach_addcmul_(xs, ys, ys, weight)


def clamped(xs: Tensors, bound: Number) -> list[Tensor]:
    """Return max(x, bound) of each."""
    if isinstance(bound, Tensor):
        return [x.clamp(min=bound) for x in xs]
    return list(torch._foreach_clamp_min(xs, bound))


def clip_(xs: Tensors, bound: Number) -> None:
    """x <- max(-bound, min(x, bound))."""
    if isinstance(bound, Tensor) or xs[0].device.type == "cpu":
        for x in xs:
            x.clamp_(-bound, bound)
    else:
        torch._foreach_clamp_min_(xs, -bound)
        torch._foreach_clamp_max_(xs, bound)


def square_sum(x: Tensor) -> Tensor:
    """Return the sum of the squares of all elements; not by a dot product, whose threads are not torch's."""
    return torch.linalg.vector_norm(x).square()


def of_each(function: Callable[[Tensor], Tensor], xs: Tensors) -> list[Tensor]:
    """Return ``function`` of each of these small tensors of one shape, called on stacks of them, (n, ...)."""
    alike: dict[Any, list[int]] = {}
    for i, x in enumerate(xs):
        alike.setdefault((x.device, x.dtype) if type(x) is Tensor else i, []).append(i)
    found: dict[int, Tensor] = {}
    for members in alike.values():
        found |= zip(members, function(torch.stack([xs[i] for i in members])).unbind(), strict=True)
    return [found[i] for i in range(len(xs))]


def adam_(
    params: Tensors,
    grads: Tensors,
    first: Tensors,
    second: Tensors,
    *,
    rate: Number,
    w1: Number,
    w2: Number,
    eps: Number,
    shrink: Number = 0.0,
) -> None:
    """Take a step of Adam without correction of its start, in place.

    m <- (1 - w1) m + w1 g;  v <- (1 - w2) v + w2 g^2;  p <- (1 - shrink) p - rate m / (sqrt(v) + eps)

    On a CPU this is one pass of torch's fused kernel, which takes less time than the root alone by
    ``torch.sqrt``. So other methods use it too: with ``w1`` :data:`KEEP`, any direction in place of m.
    """
    if isinstance(rate, Tensor) or not fused(params, grads, first, second):
        if not (isinstance(w1, float) and w1 == KEEP):
            lerp_(first, grads, w1)
        if not (isinstance(w2, float) and w2 == KEEP):
            square_average_(second, grads, w2)
        roots = torch._foreach_sqrt(second)
        for root in roots:
            root.add_(eps)
        if isinstance(shrink, Tensor) or shrink:
            shrink_(params, shrink)
        if isinstance(rate, Tensor):
            for p, m, root in zip(params, first, roots, strict=True):
                p.sub_(rate * (m / root))
        else:
            torch._foreach_addcdiv_(params, first, roots, -rate)
        return
    if rate == 0.0 and shrink:
        torch._foreach_mul_(params, 1 - shrink)
    torch._fused_adamw_(
        params,
        grads,
        first,
        second,
        [],
        [_FOREVER] * len(params),  # a step number whose corrections are 1
        lr=rate,
        beta1=1 - w1,
        beta2=1 - w2,
        weight_decay=shrink / rate if rate and shrink else 0.0,
        eps=eps,
        amsgrad=False,
        maximize=False,
    )


def adam_again_(
    params: Tensors,
    grads: Tensors,
    first: Tensors,
    second: Tensors,
    speeds: Tensors,
    *,
    rate: Number,
    eps: Number,
    shrink: Number = 0.0,
) -> None:
    """Take the step of :func:`adam_` with moments that are up to date, each tensor at its own speed.

    p <- (1 - speed shrink) p - speed rate m / (sqrt(v) + eps)
    """
    for p, g, m, v, speed in zip(params, grads, first, second, speeds, strict=True):
        s = speed if isinstance(rate, Tensor) or speed.device.type != "cpu" else float(speed)
        adam_([p], [g], [m], [v], rate=rate * s, w1=KEEP, w2=KEEP, eps=eps, shrink=shrink * s)


def fused(*lists: Tensors) -> bool:
    """Whether torch's kernels for the CPU can take these: they pair elements by their place in memory."""
    for row in zip(*lists, strict=True):
        dtype, contiguous = row[0].dtype, True
        for t in row:
            if not t.is_cpu or t.dtype is not dtype or type(t) not in PLAIN:
                return False
            contiguous = contiguous and t.is_contiguous()
        if not contiguous and (len({t.stride() for t in row}) > 1 or _has_gaps(row[0])):
            return False
    return True


def _has_gaps(tensor: Tensor) -> bool:
    """Whether there are numbers of others between those of a tensor, as in one column of several."""
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return reach + 1 != tensor.numel()
