"""Attention as the fused kernels of a GPU hold it in memory: the output and one number a row, no scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ultra_train.estimate.meter import Meter


@contextmanager
def fused_attention(meter: Meter) -> Iterator[None]:
    """Replace ``scaled_dot_product_attention`` by what a fused kernel allocates, while the context lasts.

    On a CPU torch computes attention with dropout or in float64 with explicit scores ``(B, H, T, S)``; the
    kernels of a GPU (flash and memory-efficient attention, since compute capability 5.0) do not. The function
    itself is replaced, because a mode of torch is not active where activations are computed again.

    Args:
        meter: counts the operations of the kernels.
    """
    own = F.scaled_dot_product_attention

    def replaced(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
        out: Tensor = _Attention.apply(query, key, value, meter)
        return out

    F.scaled_dot_product_attention = replaced
    try:
        yield
    finally:
        F.scaled_dot_product_attention = own


class _Attention(torch.autograd.Function):
    """Keeps queries, keys, values, the output and the log-sum-exp of each row."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, meter: Meter) -> Tensor:
        """Return an output ``(B, H, T, e)`` for q ``(B, H, T, d)``, k and v ``(B, G, S, d or e)``."""
        batch, heads, length, width = q.shape
        out = q.new_empty(batch, length, heads, v.shape[-1]).transpose(1, 2)
        ctx.save_for_backward(q, k, v, out, q.new_empty(batch, heads, length, dtype=torch.float32))
        ctx.flops = 2 * batch * heads * length * k.shape[-2] * (width + v.shape[-1])
        ctx.meter = meter
        meter.flops += ctx.flops
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return the gradients; the kernels compute the scores once more."""
        q, k, v, *_ = ctx.saved_tensors
        ctx.meter.flops += 5 * ctx.flops // 2
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), None
