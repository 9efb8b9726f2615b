"""Rotary position embedding (RoPE)."""

from __future__ import annotations

from math import inf
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ultra_blocks.layout import Layout
from ultra_blocks.positions.base import PositionCode, real_positions
from ultra_core.contracts import FromModel, Range


class RoPE(PositionCode):
    """Rotary position embedding: rotates pairs of channels of q and k by an angle linear in the position.

    ::

        theta_j = base**(-2j/d) / scaling,  j = 0..d/2-1
        (a_j, b_j) -> (a_j cos(p theta_j) - b_j sin(p theta_j),  b_j cos(p theta_j) + a_j sin(p theta_j))

    so that ``<q_m, k_n>`` depends on ``m - n`` only. A pair is ``(x_j, x_{j+d/2})``, the layout of Hugging
    Face checkpoints, or ``(x_{2j}, x_{2j+1})`` with ``interleaved``. Angles are computed in fp64 (fp32 if the
    device does not support it), applied in at least fp32, and shared by all layers through ``layout.memo``.

    Args:
        head_dim: width d of a head, even.
        base: wavelength of the slowest pair divided by 2 pi; larger for longer documents.
        scaling: divisor of positions: with 2.0, documents of twice the training length have the same range of
            angles.
        interleaved: adjacent channels form a pair, as in the paper.

    Shapes:
        q ``(B, H, T, d)``, k ``(B, H or fewer, T, d)``; the results have the same shapes.

    Raises:
        ValueError: ``head_dim`` is odd, or ``base`` or ``scaling`` is not above 0.

    Paper: Su et al. 2021, "RoFormer", arXiv:2104.09864; scaling: Chen et al. 2023, arXiv:2306.15595.
    Differs from the paper: pairs are the two halves of a head by default.
    """

    kind = "rotate"
    reference: ClassVar = "ultra_blocks.reference.positions:rope"

    def __init__(
        self,
        head_dim: int,
        *,
        base: Annotated[float, FromModel("rope_base"), Range(gt=0)] = 10000.0,
        scaling: Annotated[float, FromModel("rope_factor"), Range(gt=0)] = 1.0,
        interleaved: bool = False,
    ) -> None:
        super().__init__()
        if head_dim < 2 or head_dim % 2:
            raise ValueError(f"RoPE: heads must have an even width to form pairs; given head_dim={head_dim}")
        if not base > 0:
            raise ValueError(f"RoPE: base must be above 0; given {base}")
        if not 0 < scaling < inf:
            raise ValueError(f"RoPE: scaling must be above 0 and finite; given {scaling}")
        self.head_dim = head_dim
        self.base = float(base)
        self.scaling = float(scaling)
        self.interleaved = interleaved

    def rotate(self, q: Tensor, k: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """Return q and k rotated by their positions."""
        wide = torch.promote_types(q.dtype, torch.float32)
        key = ("rope", self.head_dim, self.base, self.scaling, self.interleaved, wide)
        cos, sin = layout.remember(key, lambda: self._tables(layout, wide))
        return self._turn(q, cos, sin), self._turn(k, cos, sin)

    def _tables(self, layout: Layout, wide: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return cos, and sin with the sign of each element of a pair, for pairs ``(B, H, T, ., .)``."""
        positions = real_positions(layout)
        exact = torch.float32 if positions.device.type == "mps" else torch.float64
        exponent = torch.arange(0, self.head_dim, 2, dtype=exact, device=positions.device) / self.head_dim
        angle = (positions[..., None] * (self.base**-exponent / self.scaling))[:, None]
        cos, sin = angle.cos().to(wide), angle.sin().to(wide)
        pair = self._pair_dim
        return cos.unsqueeze(pair), torch.stack((-sin, sin), pair)

    @property
    def _pair_dim(self) -> int:
        return -1 if self.interleaved else -2

    def _turn(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        pairs = x.unflatten(-1, (-1, 2) if self.interleaved else (2, -1)).to(cos.dtype)
        turned = torch.addcmul(pairs * cos, pairs.flip(self._pair_dim), sin)
        return turned.flatten(-2).to(x.dtype)

    def extra_repr(self) -> str:
        """Return the options for ``print(model)``."""
        scaling = "" if self.scaling == 1 else f", scaling={self.scaling:g}"
        return f"{self.head_dim}, base={self.base:g}{scaling}, interleaved={self.interleaved}"
