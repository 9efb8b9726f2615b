"""Short depthwise convolution over time, inside documents."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

PIECE = 2**17
"""Elements of a row whose products with all taps of the kernel fit into a cache until they are summed."""


def depthwise_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, causal: bool, documents: Tensor | None = None
) -> Tensor:
    """Return ``y_t = bias + sum_o weight_o x_{t + o - left}`` for each channel.

    ``left`` is K - 1 if causal, else K // 2. Tokens outside of the row count as zero. The tokens of a
    document must be contiguous, and ``x`` must be zero at padding.

    Args:
        x: ``(B, T, E)``.
        weight: ``(E, 1, K)``, as in ``nn.Conv1d`` with one group per channel.
        bias: ``(E,)`` or None.
        causal: cover earlier tokens only; otherwise K is odd and the kernel is centred.
        documents: ``(B, T)`` ids; tokens of other documents count as zero too. None: one document per row.
    """
    length, kernel = x.shape[1], weight.shape[-1]
    left = kernel - 1 if causal else kernel // 2
    right = kernel - 1 - left
    if documents is None:
        by_hand = x.device.type == "cpu" and not torch.compiler.is_compiling()
        convolve = _Conv.apply if by_hand else _windows
        alone: Tensor = convolve(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), left)
        return alone
    rows, near = F.pad(x, (0, 0, left, right)), F.pad(documents, (left, right), value=-1)
    weight = weight.to(
        torch.promote_types(x.dtype, torch.float32)
    )  # sums are rounded once, as in the other form
    y = torch.zeros_like(x) if bias is None else bias
    for offset in range(kernel):
        same = (near[:, offset : offset + length] == documents)[..., None]
        y = y + torch.where(same, rows[:, offset : offset + length], 0.0) * weight[:, 0, offset]
    return y.to(x.dtype)


def depthwise_conv_step(
    x_t: Tensor, window: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the causal output ``(B, E)`` at the next token, and the last inputs ``(B, K - 1, E)``."""
    window = torch.cat((window, x_t[:, None].to(window.dtype)), 1)
    y = (window * weight[:, 0].T.to(window.dtype)).sum(1)
    return (y if bias is None else y + bias).to(x_t.dtype), window[:, 1:]


class _Conv(torch.autograd.Function):
    """``y_t = bias + sum_o w_o x_{t + o - left}`` in rows of one document each; explicit backward.

    It is for CPUs, whose libraries spend several times as long on the gradient of the weight, a sum over all
    tokens, as on everything else, and even longer with two threads.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, left: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.left, ctx.biased = left, bias is not None
        return _windows(x, weight, bias, left)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        kernel = weight.shape[-1]
        dx = _windows(dy, weight.flip(-1), None, kernel - 1 - ctx.left)
        sums = _matches(x, dy, kernel, ctx.left)
        return dx, sums.T[:, None].to(weight.dtype), dy.sum((0, 1)) if ctx.biased else None, None


def _windows(x: Tensor, weight: Tensor, bias: Tensor | None, left: int) -> Tensor:
    """Return the convolution as a contiguous tensor."""
    if not x.shape[1]:  # libraries reject empty images
        return x.clone(memory_format=torch.contiguous_format)
    wide = max(left, weight.shape[-1] - 1 - left)
    images = x.transpose(1, 2).unsqueeze(
        2
    )  # as images with channels last, the only form that is fast on CPUs
    if x.device.type != "cpu":  # other devices have no kernel for channels last
        images = images.contiguous()
    with torch.autocast(x.device.type, enabled=False):
        y = F.conv2d(images, weight.unsqueeze(2), bias, padding=(0, wide), groups=x.shape[2])
    return y.squeeze(2).transpose(1, 2)[:, wide - left :][:, : x.shape[1]].contiguous()


def _matches(x: Tensor, dy: Tensor, kernel: int, left: int) -> Tensor:
    """Return ``sum_t dy_t x_{t + o - left}`` over all rows, ``(K, E)``, at least fp32."""
    length, width = x.shape[1:]
    piece, exact = max(PIECE // max(width, 1), 1), torch.promote_types(x.dtype, torch.float32)
    sums = x.new_zeros(kernel, min(piece, length), width, dtype=exact)
    if length:
        windows = F.pad(x, (0, 0, left, kernel - 1 - left)).unfold(1, kernel, 1).movedim(-1, 1)
        for row, dy_row in zip(windows, dy, strict=True):
            for read, written in zip(row.split(piece, 1), dy_row.split(piece), strict=True):
                sums[:, : len(written)].addcmul_(read.to(exact), written.to(exact))
    return sums.sum(1)
