"""Short depthwise convolutions as modules, which other modules may replace."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ultra_blocks.functional.conv import depthwise_conv, depthwise_conv_step


class DepthwiseConv(nn.Conv1d):
    """A convolution over time in each channel, inside documents.

    Args:
        channels: number of channels E.
        kernel: taps K.
        causal: cover earlier tokens only; otherwise K is odd and the kernel is centred.
        bias: whether there is a bias.

    Shapes:
        x ``(B, E, T)`` -> y ``(B, E, T)``, as ``nn.Conv1d`` has it; the weights are ``(E, 1, K)``.
    """

    def __init__(self, channels: int, kernel: int, *, causal: bool, bias: bool) -> None:
        padding = kernel - 1 if causal else kernel // 2
        super().__init__(channels, channels, kernel, groups=channels, padding=padding, bias=bias)
        self.causal = causal

    def forward(self, x: Tensor, documents: Tensor | None = None) -> Tensor:
        """Return the convolution; see :func:`ultra_blocks.functional.conv.depthwise_conv`."""
        rows = x.transpose(1, 2)
        y = depthwise_conv(rows, self.weight, self.bias, causal=self.causal, documents=documents)
        return y.transpose(1, 2)

    def step(self, x_t: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
        """Return the causal output ``(B, E)`` at the next token, and the last inputs ``(B, K - 1, E)``."""
        return depthwise_conv_step(x_t, window, self.weight, self.bias)


def convolve(conv: nn.Module, x: Tensor, documents: Tensor | None, *, kernel: int) -> Tensor:
    """Return the convolution ``(B, T, E)`` of ``x`` ``(B, T, E)``, inside documents.

    Args:
        conv: a :class:`DepthwiseConv`, or a module in its place, such as an adapter around it, that is called
            like ``nn.Conv1d`` and knows nothing of documents.
        x: its input, zero at padding.
        documents: ``(B, T)`` ids, where the tokens of a document are contiguous; None: one document per row.
        kernel: its taps.
    """
    rows = x.transpose(1, 2)
    if isinstance(conv, DepthwiseConv):
        return conv(rows, documents).transpose(1, 2)
    length = x.shape[1]
    if documents is None:
        return conv(rows)[..., :length].transpose(1, 2)
    # documents are set apart by as many zeros as the convolution sees
    starts = torch.zeros_like(documents)
    starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
    places = torch.arange(length, device=x.device) + starts.cumsum(1) * (kernel - 1)
    apart = x.new_zeros(len(x), int(places.max()) + 1, x.shape[2])
    index = places[..., None].expand_as(x)
    y = conv(apart.scatter(1, index, x).transpose(1, 2)).transpose(1, 2)
    return y.gather(1, index)


def convolve_step(conv: nn.Module, x_t: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Return the causal output ``(B, E)`` at the next token, and the last inputs ``(B, K - 1, E)``.

    Args:
        conv: see :func:`convolve`.
        x_t: ``(B, E)`` the next input.
        window: ``(B, K - 1, E)`` the inputs before.
    """
    if isinstance(conv, DepthwiseConv):
        return conv.step(x_t, window)
    window = torch.cat((window, x_t[:, None].to(window.dtype)), 1)
    y = conv(window.transpose(1, 2).to(x_t.dtype))[..., window.shape[1] - 1]
    return y, window[:, 1:]
