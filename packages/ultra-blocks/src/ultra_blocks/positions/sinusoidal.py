"""Sinusoidal absolute positions."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ultra_blocks.layout import Layout
from ultra_blocks.positions.base import PositionCode
from ultra_core.contracts import FromModel, Range


class Sinusoidal(PositionCode):
    """Sines and cosines of the position, added to the token embeddings: ``x_i + c P[p_i]``.

    ::

        P[p] = [sin(p w_0), sin(p w_1), .., cos(p w_0), cos(p w_1), ..],   w_j = base^(-2j / D)

    Positions start at 0 in every document, whatever padding precedes it. There are no parameters, no table
    and no maximum length.

    Args:
        hidden_size: width D of the residual stream; an odd one has one more sine than cosines.
        base: base of the wavelengths, which range from 2 pi to almost ``2 pi base``.
        scale: c. The paper adds waves of amplitude 1 to embeddings of standard deviation 1. Here embeddings
            start with the ``initializer_range`` of the model, to which c is set to preserve that ratio.

    Shapes:
        embed: ``(B, T, D)`` in fp32; values at padding are meaningless.

    Raises:
        ValueError: ``base`` is not above 1, or ``scale`` not above 0.

    Paper: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, section 3.5.
    Differs from the paper: all sines precede all cosines, as in tensor2tensor and in Marian of transformers
    (the paper and DistilBERT interleave them, another order of the same channels); wavelengths are those of
    the paper, with D / 2 in the exponent where tensor2tensor and M2M100 have D / 2 - 1; embeddings are not
    multiplied by sqrt(D), but the waves are scaled down.
    """

    kind = "embed"
    relative = False
    reference: ClassVar = "ultra_blocks.reference.positions:sinusoidal"

    def __init__(
        self,
        hidden_size: int,
        *,
        base: Annotated[float, Range(gt=1)] = 10_000.0,
        scale: Annotated[float, FromModel("initializer_range"), Range(gt=0)] = 0.02,
    ) -> None:
        super().__init__()
        if not base > 1:
            raise ValueError(f"Sinusoidal: base must be above 1; given {base:g}")
        if not scale > 0:
            raise ValueError(f"Sinusoidal: scale must be above 0; given {scale:g}")
        self.hidden_size, self.base, self.scale = hidden_size, base, scale

    def embed(self, layout: Layout) -> Tensor:
        """Return the scaled sines and cosines of each token's position."""
        positions = layout.positions
        even = torch.arange(0, self.hidden_size, 2, device=positions.device, dtype=torch.float32)
        rates = torch.exp(even * (-math.log(self.base) / self.hidden_size))
        angles = positions[..., None].to(rates.dtype) * rates
        cosines = angles[..., : self.hidden_size // 2].cos()
        return torch.cat((angles.sin(), cosines), -1) * self.scale
