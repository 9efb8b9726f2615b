"""Norms that are none."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ultra_blocks.norms.rms_norm import RMSNorm


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


MUTANTS: list[tuple[Any, ...]] = [
    ("N1", NormsTheBatch),
    ("N2", DividesByZero),
    ("N3", CutsTheNorm),
    ("N4", IsNotANorm),
]
