"""The kit on norms, FFNs and position codes that are broken on purpose: each must fail its rule."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.layout import Layout
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.positions import PositionCode
from ultra_blocks.testing import (
    FFN_RULES,
    NORM_RULES,
    POSITION_RULES,
    Case,
    RuleBroken,
    Rules,
    ffn_cases,
    norm_cases,
    position_cases,
)


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


class LeaksIntoGradients(MLP):
    def enter(self, x: Tensor, layout: Layout | None) -> Tensor:
        return x


class DrawsInEvaluation(MLP):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return super().forward(x, layout) * torch.rand(())


class HidesAConstant(MLP):
    def __init__(self, hidden_size: int, ffn_hidden_size: int) -> None:
        super().__init__(hidden_size, ffn_hidden_size)
        self.register_buffer("constant", torch.ones(1), persistent=False)


class Absolute(PositionCode):
    kind = "bias"
    symmetric = True

    def bias(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        return (layout.positions[:, None, None] * 1e-3).to(dtype).expand(-1, 2, layout.mask.shape[1], -1)


class Columns(PositionCode):
    kind = "bias"

    def bias(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        columns = torch.arange(layout.mask.shape[1], dtype=dtype)
        return (columns[:, None] - columns).abs()[None, None]


class SaysRotate(PositionCode):
    kind = "rotate"


class HidesATable(Columns):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.ones(1), persistent=False)


@pytest.mark.parametrize(
    ("rules", "rule", "cases"),
    [
        (NORM_RULES, "N1", norm_cases([NormsTheBatch])),
        (NORM_RULES, "N2", norm_cases([DividesByZero])),
        (NORM_RULES, "N3", norm_cases([CutsTheNorm])),
        (NORM_RULES, "N4", norm_cases([IsNotANorm])),
        (FFN_RULES, "F1", ffn_cases([LeaksIntoGradients])),
        (FFN_RULES, "F2", ffn_cases([DrawsInEvaluation])),
        (FFN_RULES, "F3", ffn_cases([HidesAConstant])),
        (POSITION_RULES, "P1", position_cases([SaysRotate])),
        (POSITION_RULES, "P2", position_cases([Absolute])),
        (POSITION_RULES, "P3", position_cases([Absolute])),
        (POSITION_RULES, "P4", position_cases([Columns])),
        (POSITION_RULES, "P5", position_cases([HidesATable])),
    ],
)
def test_broken_norms_ffns_and_positions_fail(rules: Rules, rule: str, cases: Any) -> None:
    case: Case = next(iter(cases))
    with pytest.raises(RuleBroken, match=f"breaks rule {rule}: "):
        rules[rule](case)
