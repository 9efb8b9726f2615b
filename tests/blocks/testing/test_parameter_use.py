"""Right blocks in other styles: what their parameters are said to be agrees with their use."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from blocks.testing.sound import Sound
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.testing import RULES, RuleBroken, block_cases
from ultra_core.contracts import ParamInfo


class Separate(Sound):
    """Queries, keys and values are projected by three matrices."""

    def __init__(self, hidden_size: int, *, num_heads: int = 2, causal: bool = False) -> None:
        super().__init__(hidden_size, num_heads=num_heads, causal=causal)
        del self.qkv_proj
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(hidden_size, hidden_size) for _ in range(3))
        self.reset_parameters()

    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        return {}

    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.split(layer(x)) for layer in (self.q_proj, self.k_proj, self.v_proj))

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        layout = layout or Layout.full(x.shape[0], x.shape[1], x.device)
        x = self.enter(x, layout)
        q, k, v = self.project(x)
        y = self.attend(q, k, v, layout, slice(None)).transpose(1, 2).flatten(2)
        y = self.opening(self.gate_proj(x)) * self.normalise(y) * self.gain
        return self.leave(self.out_proj(y), layout)


class LoopsOverHeads(Separate):
    def attend(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout, rows: slice) -> Tensor:
        heads = zip(q.unbind(1), k.unbind(1), v.unbind(1), strict=True)
        sub = super().attend
        return torch.cat([sub(q[:, None], k[:, None], v[:, None], layout, rows) for q, k, v in heads], 1)


class TurnsHalves(Separate):
    """One key head, the halves of which are turned, as RoPE does."""

    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        q, k, v = super().project(x)
        left, right = k.chunk(2, -1)
        return q, torch.cat((-right, left), -1), v


class Interleaves(Separate):
    """Rows of one fused matrix are in the order heads, then query, key and value: no stacked matrices."""

    def __init__(self, hidden_size: int, *, num_heads: int = 2, causal: bool = False) -> None:
        super().__init__(hidden_size, num_heads=num_heads, causal=causal)
        del self.q_proj, self.k_proj, self.v_proj
        self.fused = nn.Linear(hidden_size, 3 * hidden_size)
        self.reset_parameters()

    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.fused(x).unflatten(-1, (self.num_heads, 3, -1)).transpose(1, 2).unbind(3)


class MapsFeatures(Separate):
    """Queries and keys are exponentials of projections, which are no gates."""

    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        q, k, v = super().project(x)
        return (q / 4).exp(), (k / 4).exp(), v


class Ties(Separate):
    """Queries and keys share one matrix."""

    def __init__(self, hidden_size: int, *, num_heads: int = 2, causal: bool = False) -> None:
        super().__init__(hidden_size, num_heads=num_heads, causal=causal)
        self.k_proj.weight = self.q_proj.weight


class HasItsOwnRole(Separate):
    role = "hyena"


class StacksItsQueries(Separate):
    """The weights ``(E, out, in)`` of several query projections are experts."""

    def __init__(self, hidden_size: int, *, num_heads: int = 2, causal: bool = False) -> None:
        super().__init__(hidden_size, num_heads=num_heads, causal=causal)
        self.more = nn.Parameter(0.02 * torch.randn(2, hidden_size, hidden_size))

    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        super().reset_parameters(std=std, residual_scale=residual_scale)
        if hasattr(self, "more"):
            nn.init.normal_(self.more, 0.0, std)

    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        q, k, v = super().project(x)
        return q + self.split(torch.einsum("btd,eod->bto", x, self.more)), k, v

    def parameter_info(self) -> dict[str, ParamInfo]:
        expert = ParamInfo(role=self.role, kind="expert", expert_dim=0)
        return {**super().parameter_info(), "more": expert}


STYLES = [
    Separate,
    LoopsOverHeads,
    TurnsHalves,
    Interleaves,
    MapsFeatures,
    Ties,
    HasItsOwnRole,
    StacksItsQueries,
]


@pytest.mark.parametrize("rule", ["B15", "B15b", "B15d", "B15e", "B15f", "B15g", "U2"])
@pytest.mark.parametrize("cls", STYLES)
def test_another_style_is_no_fault(cls: Any, rule: str) -> None:
    RULES[rule](next(iter(block_cases([cls]))))


class Fused(Sound):
    """Has no row blocks for its fused projection."""

    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        return {}


def test_the_advice_has_the_name_and_the_sizes() -> None:
    with pytest.raises(RuleBroken, match=r"return \{'qkv_proj\.weight': \(16, 16, 16\)\}"):
        RULES["B15d"](next(iter(block_cases([Fused]))))
