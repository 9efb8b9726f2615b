"""Parameters that are not what they are said to be."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from blocks.testing.sound import Sound
from torch import Tensor, nn

from ultra_blocks.ffn.glu import GLU
from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.ffn.moe import MoE
from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer
from ultra_blocks.mixers.gqa_attn import GQAAttention
from ultra_blocks.norms.layer_norm import LayerNorm
from ultra_blocks.positions.learned import Learned
from ultra_core.contracts import ParamInfo


class HasNoRowBlocks(Sound):
    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        return {}


class SlicesWithoutRowBlocks(HasNoRowBlocks):
    """Queries, keys and values are a dimension of a view, not pieces of a split."""

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        layout = layout or Layout.full(x.shape[0], x.shape[1], x.device)
        x = self.enter(x, layout)
        qkv = self.qkv_proj(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        y = self.attend(qkv[0], qkv[1], qkv[2], layout, slice(None)).transpose(1, 2).flatten(2)
        return self.leave(
            self.out_proj(self.opening(self.gate_proj(x)) * self.normalise(y) * self.gain), layout
        )


class CutsTheWeight(HasNoRowBlocks):
    """The weight is cut, instead of its product."""

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        layout = layout or Layout.full(x.shape[0], x.shape[1], x.device)
        x = self.enter(x, layout)
        q, k, v = (self.split(x @ weight.mT) for weight in self.qkv_proj.weight.chunk(3))
        y = self.attend(q, k, v, layout, slice(None)).transpose(1, 2).flatten(2)
        return self.leave(
            self.out_proj(self.opening(self.gate_proj(x)) * self.normalise(y) * self.gain), layout
        )


class OrdersRowBlocksOtherwise(GQAAttention):
    """Keys and values are narrower than queries, and are said to come first."""

    def __init__(self, hidden_size: int, *, num_heads: int = 4, causal: bool = False) -> None:
        super().__init__(hidden_size, num_heads=num_heads, num_kv_heads=1, causal=causal)

    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        return {name: rows[::-1] for name, rows in super().row_blocks().items()}


class GLUWithoutRowBlocks(GLU):
    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        return {}


class GateIsAMatrix(Sound):
    def parameter_info(self) -> dict[str, ParamInfo]:
        return Mixer.parameter_info(self)


class GateDecays(Sound):
    def parameter_info(self) -> dict[str, ParamInfo]:
        gate = ParamInfo(role=self.role, kind="gate")
        return {**super().parameter_info(), "gate_proj.weight": gate}


class GainDecays(Sound):
    def parameter_info(self) -> dict[str, ParamInfo]:
        return {**super().parameter_info(), "gain": ParamInfo(role=self.role, kind="vector")}


class BiasDecays(MLP):
    def __init__(self, hidden_size: int, ffn_hidden_size: int) -> None:
        super().__init__(hidden_size, ffn_hidden_size, bias=True)

    def parameter_info(self) -> dict[str, ParamInfo]:
        return {**super().parameter_info(), "up.bias": ParamInfo(kind="vector")}


class GainsPerHead(Sound):
    """Gains ``(H, d)`` have two dimensions, and are multiplied by element."""

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.head_gain = nn.Parameter(torch.ones(2, hidden_size // 2))

    def normalise(self, y: Tensor) -> Tensor:
        return (super().normalise(y).unflatten(-1, (2, -1)) * self.head_gain).flatten(-2)


class RateIsAMatrix(Sound):
    """A decay rate for each pair of channels, ``exp(A)``, would be orthogonalised."""

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.rates = nn.Parameter(torch.zeros(hidden_size, 2))

    def normalise(self, y: Tensor) -> Tensor:
        return super().normalise(y) * torch.exp(-torch.exp(self.rates)).sum(-1)


class TableIsAMatrix(Learned):
    def parameter_info(self) -> dict[str, ParamInfo]:
        return {"table.weight": ParamInfo(role="embeddings")}


class RouterIsAMatrix(MoE):
    def parameter_info(self) -> dict[str, ParamInfo]:
        return {"router.weight": ParamInfo()}


class KernelIsAMatrix(Sound):
    """A kernel of its own, which no module of torch describes."""

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.kernel = nn.Parameter(torch.randn(hidden_size, 1, 1))

    def normalise(self, y: Tensor) -> Tensor:
        mixed = F.conv1d(y.mT, self.kernel, groups=y.shape[-1]).mT if y.numel() else y
        return super().normalise(mixed)


class ExpertsAreAMatrix(MLP):
    """Weights ``(E, out, in)`` without the dimension of the experts."""

    def __init__(self, hidden_size: int, ffn_hidden_size: int) -> None:
        super().__init__(hidden_size, ffn_hidden_size)
        self.experts = nn.Parameter(0.1 * torch.randn(2, hidden_size, hidden_size))

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        y = super().forward(x, layout)
        return y + torch.einsum("btd,eod->bto", self.enter(x, layout), self.experts)


class MisspellsItsRole(Sound):
    role = "atention"


class InventsARole(Sound):
    def parameter_info(self) -> dict[str, ParamInfo]:
        return {**super().parameter_info(), "out_proj.weight": ParamInfo(role="projections")}


class TiesTwoKinds(Sound):
    """One parameter under two names is a matrix by one and a gate by the other."""

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.gate_proj.weight = self.out_proj.weight


class ContradictsItsChild(Sound):
    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.norm = LayerNorm(hidden_size)

    def normalise(self, y: Tensor) -> Tensor:
        return self.norm(super().normalise(y))

    def parameter_info(self) -> dict[str, ParamInfo]:
        return {
            **super().parameter_info(),
            "norm.weight": ParamInfo(role="norms", kind="vector", decay=False),
        }


class CountsExpertsByTheirRows(ExpertsAreAMatrix):
    """Both stacks are ``(E, out, in)``, and the second dimension is said to count the experts."""

    def __init__(self, hidden_size: int, ffn_hidden_size: int) -> None:
        super().__init__(hidden_size, ffn_hidden_size)
        self.back = nn.Parameter(torch.randn(2, ffn_hidden_size, hidden_size) / 4)

    def parameter_info(self) -> dict[str, ParamInfo]:
        experts = ParamInfo(kind="expert", expert_dim=1)
        return {**super().parameter_info(), "experts": experts, "back": experts}


class InterleavesGateAndUp(GLU):
    """Gate and up are every second row, and are said to be two halves."""

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        inner = self.gate_up(self.enter(x, layout))
        return self.down(nn.functional.silu(inner[..., ::2]) * inner[..., 1::2])


class CountsHeadsAsMatrices(Sound):
    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        return {"qkv_proj.weight": (self.hidden_size // self.num_heads,) * (3 * self.num_heads)}


class LogRateIsAMatrix(Sound):
    """A decay rate for each pair of channels, ``log sigmoid(A)``, would be orthogonalised."""

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.rate = nn.Parameter(torch.zeros(hidden_size, hidden_size))

    def opening(self, x: Tensor) -> Tensor:
        return super().opening(x) * nn.functional.logsigmoid(self.rate).mean(0)


class NormBiasDecays(LayerNorm):
    def parameter_info(self) -> dict[str, ParamInfo]:
        return dict.fromkeys(("weight", "bias"), ParamInfo(role="norms", kind="vector"))


class LeavesAColumnIdle(Sound):
    """The last channel of the gate is one whatever the gate's projection says."""

    def opening(self, x: Tensor) -> Tensor:
        y = super().opening(x)
        return torch.cat([y[..., :-1], torch.ones_like(y[..., -1:])], -1)


MUTANTS: list[tuple[Any, ...]] = [
    ("B15d", HasNoRowBlocks),
    ("B15d", SlicesWithoutRowBlocks),
    ("B15d", CutsTheWeight),
    ("B15d", OrdersRowBlocksOtherwise),
    ("F3b", GLUWithoutRowBlocks),
    ("B15e", GateIsAMatrix),
    ("B15e", GateDecays),
    ("B15e", GainDecays),
    ("F3c", BiasDecays),
    ("B15e", GainsPerHead),
    ("B15e", RateIsAMatrix),
    ("P5b", TableIsAMatrix),
    ("F3c", RouterIsAMatrix),
    ("B15e", KernelIsAMatrix),
    ("F3c", ExpertsAreAMatrix),
    ("B15e", MisspellsItsRole),
    ("B15e", InventsARole),
    ("B15e", TiesTwoKinds),
    ("B15e", ContradictsItsChild),
    ("F3c", CountsExpertsByTheirRows),
    ("F3b", InterleavesGateAndUp),
    ("B15d", CountsHeadsAsMatrices),
    ("B15e", LogRateIsAMatrix),
    ("N4b", NormBiasDecays),
    ("B15b", LeavesAColumnIdle),
]
