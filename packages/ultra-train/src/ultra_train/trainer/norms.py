"""Norms of gradients and weights, which may be divided among processes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from ultra_optim.sharded.layout import ShardLayout, is_sharded, local_part


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the 2-norm of all elements of some tensors, on every process that has a part of them."""
    sharded = [t for t in tensors if is_sharded(t)]
    if not sharded:
        return torch.nn.utils.get_total_norm(tensors)
    square = torch.nn.utils.get_total_norm([local_part(t) for t in sharded]).double().square()
    dist.all_reduce(square, group=ShardLayout.of(sharded[0]).group)
    if whole := [t for t in tensors if not is_sharded(t)]:
        square += torch.nn.utils.get_total_norm(whole).double().square()
    return square.sqrt()


def scale_to_norm_(gradients: Sequence[Tensor], max_norm: float, norm: Tensor) -> None:
    """Multiply gradients by ``max_norm / norm`` in place, where that is below 1, as torch's clipping does."""
    factor = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
    by_kind: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for gradient in map(local_part, gradients):
        by_kind.setdefault((gradient.device, gradient.dtype), []).append(gradient)
    for (device, dtype), same in by_kind.items():
        torch._foreach_mul_(same, factor.to(device, dtype))
