"""Short depthwise convolution over time that stays inside documents. No parameters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def depthwise_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, causal: bool, documents: Tensor | None = None
) -> Tensor:
    """Return ``y_t = bias + sum_o weight_o x_{t + o - left}`` for each channel.

    ``left`` is K - 1 if causal, else K // 2. What lies outside the row counts as zero. Tokens of one
    document must stand next to each other, without padding between them, and ``x`` must be zero at padding.

    Args:
        x: ``(B, T, E)``.
        weight: ``(E, 1, K)``, as ``nn.Conv1d`` with a group a channel keeps it.
        bias: ``(E,)`` or None.
        causal: read the past alone; else K is odd and the window centred.
        documents: ``(B, T)`` ids; other documents count as zero too. None: one document a row.
    """
    length, kernel = x.shape[1], weight.shape[-1]
    left = kernel - 1 if causal else kernel // 2
    right = kernel - 1 - left
    if documents is None:
        # One more dimension: CPUs have a fast depthwise convolution for images only.
        rows = F.pad(x.transpose(1, 2), (left, right)).unsqueeze(2)
        y = F.conv2d(rows, weight.unsqueeze(2), bias, groups=x.shape[2]).squeeze(2)
        return y.transpose(1, 2).contiguous()  # what follows goes by tokens: a copy here saves many there
    rows, near = F.pad(x, (0, 0, left, right)), F.pad(documents, (left, right), value=-1)
    weight = weight.to(torch.promote_types(x.dtype, torch.float32))  # sums are rounded once, as above
    y = torch.zeros_like(x) if bias is None else bias
    for offset in range(kernel):
        same = (near[:, offset : offset + length] == documents)[..., None]
        y = y + torch.where(same, rows[:, offset : offset + length], 0.0) * weight[:, 0, offset]
    return y.to(x.dtype)


def depthwise_conv_step(
    x_t: Tensor, window: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the causal output ``(B, E)`` at the next token, and the window ``(B, K - 1, E)`` after it."""
    window = torch.cat((window, x_t[:, None].to(window.dtype)), 1)
    y = (window * weight[:, 0].T.to(window.dtype)).sum(1)
    return (y if bias is None else y + bias).to(x_t.dtype), window[:, 1:]
