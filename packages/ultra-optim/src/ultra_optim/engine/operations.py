"""Operations on lists of tensors whose numbers may be tensors, for updates that are compiled once.

``torch._foreach_*`` takes most numbers as Python floats only, and each new float would need new code. In the
plain form numbers are floats, and each function here is one call of ``torch._foreach_*``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ultra_optim.engine.threads import PLAIN_TYPES

Number: TypeAlias = Any
"""A float, or a tensor of one element where an update is compiled."""

Tensors: TypeAlias = list[Tensor] | tuple[Tensor, ...]


def lerp(xs: Tensors, ys: Tensors, weight: Number) -> list[Tensor]:
    """Return x + weight (y - x) of each pair."""
    if isinstance(weight, Tensor):
        return [_interpolated(x, y, weight) for x, y in zip(xs, ys, strict=True)]
    return list(torch._foreach_lerp(xs, ys, weight))


def lerp_(xs: Tensors, ys: Tensors, weight: Number) -> None:
    """x <- x + weight (y - x)."""
    if isinstance(weight, Tensor):
        for x, y in zip(xs, ys, strict=True):
            x.copy_(_interpolated(x, y, weight))
    else:
        torch._foreach_lerp_(xs, ys, weight)


def _interpolated(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return what ``torch.lerp`` does: exactly x where both are equal, and exactly y for a weight of 1."""
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


def subtract_part_(xs: Tensors, part: Number) -> None:
    """x <- x - part x.

    Compiled code does it as written, with one rounding where products are fused: 1 - part loses most digits
    of a small part.
    """
    if isinstance(part, Tensor):
        for x in xs:
            x.sub_(x * part)
    else:
        torch._foreach_mul_(xs, 1 - part)


def copy_(xs: Tensors, ys: Tensors) -> None:
    """x <- y; one by one, because there is no ``_foreach_copy_`` for DTensors."""
    for x, y in zip(xs, ys, strict=True):
        x.copy_(y)


def square_average_(xs: Tensors, ys: Tensors, weight: Number) -> None:
    """x <- (1 - weight) x + weight y^2."""
    if isinstance(weight, Tensor):
        for x, y in zip(xs, ys, strict=True):
            x.sub_(x * weight)  # leaves nothing for a weight of 1
            x.add_(y * weight * y)  # y * y may overflow
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
    """Return the sum of the squares of all elements.

    Not as a dot product, which would start threads of its own.
    """
    return torch.linalg.vector_norm(x).square()


def of_each(function: Callable[[Tensor], Tensor], xs: Tensors) -> list[Tensor]:
    """Return ``function`` of small tensors of one shape, computed on stacks ``(n, ...)`` of them."""
    alike: dict[Any, list[int]] = {}
    for i, x in enumerate(xs):
        alike.setdefault((x.device, x.dtype) if type(x) is Tensor else i, []).append(i)
    found: dict[int, Tensor] = {}
    for members in alike.values():
        found |= zip(members, function(torch.stack([xs[i] for i in members])).unbind(), strict=True)
    return [found[i] for i in range(len(xs))]


def fit_fused_kernel(*columns: Tensors) -> bool:
    """Whether torch's fused CPU kernels can take these columns.

    The kernels pair elements by their position in memory, so that the tensors of a row must have one layout.
    """
    for row in zip(*columns, strict=True):
        dtype, contiguous = row[0].dtype, True
        for t in row:
            if not t.is_cpu or t.dtype is not dtype or type(t) not in PLAIN_TYPES:
                return False
            contiguous = contiguous and t.is_contiguous()
        if not contiguous and (len({t.stride() for t in row}) > 1 or _has_gaps(row[0])):
            return False
    return True


def _has_gaps(tensor: Tensor) -> bool:
    """Whether a tensor skips memory between its elements, as one column of a matrix does."""
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return reach + 1 != tensor.numel()
