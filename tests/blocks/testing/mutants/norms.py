"""Norms that are none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultra_blocks.norms.layer_norm import LayerNorm
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.traits import NormTraits


class NormsTheBatch(RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1e-3 * x.mean()


class DividesByZero(RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return x / x.norm(dim=-1, keepdim=True) * self.weight


class IsNotANorm(RMSNorm):
    def parameter_info(self) -> dict[str, Any]:
        return {}


class CutsTheNorm(RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return x * (super().forward(x) / x).detach()


class NormsTheBatchInTraining(RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0) if self.training else x)


class NamesItsDimensions(RMSNorm):
    """The width is taken to be dimension 2, as it is of ``(B, T, D)``, and of vectors the last one."""

    def forward(self, x: Tensor) -> Tensor:
        square = x.square().mean(min(2, x.ndim - 1), keepdim=True)
        return self.weight * x * torch.rsqrt(square + 1e-6)


class ClampsToTheBatch(RMSNorm):
    """Outliers are clipped at eight times the mean size in the batch."""

    def forward(self, x: Tensor) -> Tensor:
        limit = 8 * x.detach().abs().mean() if x.numel() > 100 else x.new_tensor(float("inf"))
        return super().forward(torch.minimum(x.abs(), limit) * x.sign())


class ViewsItsInput(RMSNorm):
    """``view`` refuses inputs that are not contiguous, such as transposed heads."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.view(-1, x.shape[-1])).view(x.shape)


class EstimatesTheVariance(LayerNorm):
    """The variance is torch's default, the unbiased estimate, and no trait or reference tells otherwise."""

    traits = NormTraits()
    reference = None

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        y = (wide - wide.mean(-1, keepdim=True)) * torch.rsqrt(wide.var(-1, keepdim=True) + self.eps)
        return (y * self.weight + self.bias).to(x.dtype)


class SquaresInHalfPrecision(RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight.to(x.dtype)


class DetachesTheGain(RMSNorm):
    """The gain is not trained."""

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        return torch.nn.functional.rms_norm(
            x, (self.hidden_size,), self.weight.detach().to(x.dtype), self.eps
        )


MUTANTS: list[tuple[Any, ...]] = [
    ("N1", NormsTheBatch),
    ("N2", DividesByZero),
    ("N3", CutsTheNorm),
    ("N4", IsNotANorm),
    ("N1b", NormsTheBatchInTraining),
    ("N1b", NamesItsDimensions),
    ("N1b", ClampsToTheBatch),
    ("N1b", ViewsItsInput),
    ("N6b", EstimatesTheVariance),
    ("N2b", SquaresInHalfPrecision),
    ("N4", DetachesTheGain),
]
