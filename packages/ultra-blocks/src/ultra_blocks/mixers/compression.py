"""The network with which native sparse attention compresses a block of keys or values into one vector."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BlockCompressor(nn.Module):
    """``W_2 gelu(W_1 [x_s + e_s over s] + b_1) + b_2``: compresses a block of l tokens into one vector.

    Args:
        length: number of tokens l of a block.
        width: width d of a token, of the hidden layer and of the result.

    Shapes:
        x ``(..., l, d)``, inside bool, broadcastable to ``(..., l)`` -> ``(..., d)``. Parameters: ``places``
        ``(l, d)``, ``mix`` ``(d, l d)``, ``out`` ``(d, d)``, and two biases.
    """

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.empty(length, width))
        self.mix = nn.Linear(length * width, width)
        self.out = nn.Linear(width, width)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise the position embeddings from N(0, 0.02^2); the block initialises the layers."""
        self.places.normal_(0.0, 0.02)

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """Compress blocks; tokens that are not inside count as zeros."""
        x = torch.where(inside[..., None], x + self.places, torch.zeros((), dtype=x.dtype, device=x.device))
        return self.out(F.gelu(self.mix(x.flatten(-2))))
