"""Attention as the fused kernels of a GPU hold it in memory: the output and one number a row, no scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ultra_train.estimate.meter import Meter


class FusedAttention(TorchFunctionMode):
    """Replaces ``scaled_dot_product_attention`` by what a fused kernel allocates.

    On a CPU torch computes attention with dropout or in float64 with explicit scores ``(B, H, T, S)``; the
    kernels of a GPU (flash and memory-efficient attention, since compute capability 5.0) do not.

    Args:
        meter: counts the operations of the kernels.
    """

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self.meter = meter

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Replace the call of attention, and run every other function as it is."""
        kwargs = dict(kwargs or {})
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        names = ("query", "key", "value")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        return _Attention.apply(given["query"], given["key"], given["value"], self.meter)


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
