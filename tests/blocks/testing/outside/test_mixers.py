"""Layers of torch inside of a ``Mixer`` are described and initialised by it, and keep every rule."""

import abc
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from blocks.testing.outside.test_torch_blocks import block_params
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ultra_blocks.documents import by_document
from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer
from ultra_blocks.testing import trials
from ultra_blocks.testing.cases import BlockCase
from ultra_blocks.traits import Traits
from ultra_core.testing import run


class ByDocument(Mixer):
    """Runs a layer over every document by itself; a subclass says which."""

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return by_document(self.mix, self.enter(x, layout), layout)

    @abc.abstractmethod
    def mix(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the layer's output for documents ``(B, T, D)`` that are padded on the right."""


class TransformerLayer(ByDocument):
    """A whole layer, with its biases and the kinks of its relu."""

    traits: ClassVar[Traits] = Traits(causal=False, symmetric=True, largest_input=1e3)
    output_projection: ClassVar[str] = "layer.linear2"

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.layer = nn.TransformerEncoderLayer(
            hidden_size, 2, 2 * hidden_size, dropout=0.0, batch_first=True, norm_first=True
        )
        self.reset_parameters()

    def mix(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.layer(x, src_key_padding_mask=~mask)


class BiasedAttention(ByDocument):
    """The biases of values and outputs do not count as variance of scores."""

    role: ClassVar[str] = "attention"
    traits: ClassVar[Traits] = Traits(
        causal=False, symmetric=True, averages=True, scaled_scores=True, largest_input=1e3
    )
    output_projection: ClassVar[str] = "attention.out_proj"

    def __init__(self, hidden_size: int, *, num_heads: int = 2) -> None:
        super().__init__(hidden_size)
        self.attention = nn.MultiheadAttention(hidden_size, num_heads, batch_first=True)
        self.reset_parameters()

    def mix(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.attention(x, x, x, key_padding_mask=~mask, need_weights=False)[0]


class LSTM(ByDocument):
    traits: ClassVar[Traits] = Traits(bidirectional=False)

    def __init__(self, hidden_size: int, *, causal: bool = True) -> None:
        super().__init__(hidden_size, causal=causal)
        self.lstm = nn.LSTM(hidden_size, hidden_size, batch_first=True)
        self.reset_parameters()

    def mix(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.lstm(x)[0]


class GatedConvolution(ByDocument):
    traits: ClassVar[Traits] = Traits(causal=False, full_context=False)

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.in_proj = nn.Linear(hidden_size, 2 * hidden_size)
        self.convolution = nn.Conv1d(hidden_size, hidden_size, 3, padding=1, groups=hidden_size)
        self.out_proj = nn.Linear(hidden_size, hidden_size)
        self.reset_parameters()

    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        return {"in_proj.weight": (self.hidden_size, self.hidden_size)}

    def mix(self, x: Tensor, mask: Tensor) -> Tensor:
        value, gate = self.in_proj(self.norm(x)).chunk(2, -1)
        return self.out_proj(self.convolution((value * mask[..., None]).mT).mT * torch.sigmoid(gate))


class WeightNorm(ByDocument):
    traits: ClassVar[Traits] = Traits(causal=False, symmetric=True)

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.in_proj = weight_norm(nn.Linear(hidden_size, hidden_size))
        self.out_proj = weight_norm(nn.Linear(hidden_size, hidden_size, bias=False))
        self.reset_parameters()

    def mix(self, x: Tensor, mask: Tensor) -> Tensor:
        inner = self.in_proj(x)
        mean = (inner * mask[..., None]).sum(1, keepdim=True) / mask.sum(1)[:, None, None]
        return self.out_proj(F.silu(inner + mean))


class LowRank(WeightNorm):
    """A frozen projection and a trained one of rank 2."""

    traits: ClassVar[Traits] = Traits(causal=False, symmetric=True, frozen=frozenset({"base.weight"}))

    def __init__(self, hidden_size: int) -> None:
        Mixer.__init__(self, hidden_size)
        self.base = nn.Linear(hidden_size, hidden_size, bias=False).requires_grad_(False)
        self.down = nn.Linear(hidden_size, 2, bias=False)
        self.up = nn.Linear(2, hidden_size, bias=False)
        self.out_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.reset_parameters()

    def in_proj(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


MIXERS = [TransformerLayer, BiasedAttention, LSTM, GatedConvolution, WeightNorm, LowRank]


@pytest.mark.parametrize("case", block_params(*MIXERS))
def test_a_mixer_of_torch_layers_keeps_every_rule(case: BlockCase) -> None:
    report = run(trials([case]))
    assert not report.broken, report.summary() + "\n" + "\n".join(map(str, report.broken))


def test_layers_of_torch_are_described_by_their_type() -> None:
    assert LSTM(8).parameter_info()["lstm.weight_ih_l0"].row_blocks == (8, 8, 8, 8)
    assert BiasedAttention(8).parameter_info()["attention.in_proj_weight"].row_blocks == (8, 8, 8)
    assert GatedConvolution(8).parameter_info()["convolution.weight"].kind == "conv"
    assert "norm.weight" not in GatedConvolution(8).parameter_info()
