"""Norms, FFNs and position codes of others keep every rule, behind wrappers as a stranger writes them."""

from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.t5.modeling_t5 import T5Attention

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer
from ultra_blocks.norms.base import Norm, Place
from ultra_blocks.positions import PositionCode
from ultra_blocks.testing import Case, block_cases, ffn_cases, norm_cases, position_cases, trials
from ultra_blocks.traits import NumericTraits, Traits
from ultra_core.testing import run


class LayerNorm(nn.LayerNorm):
    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)


class TorchRMSNorm(nn.RMSNorm):
    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size, eps=1e-6)


class OneLength(Norm):
    """Tokens of unit variance keep nearly their length, and most of their numbers are the same in bf16."""

    def __init__(self, hidden_size: int, *, place: Place = "mixer") -> None:
        super().__init__(hidden_size, place=place)
        self.length = nn.Parameter(torch.tensor([hidden_size**0.5]))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return (self.length * wide / wide.norm(dim=-1, keepdim=True).clamp(min=1e-6)).to(x.dtype)


class Llama(nn.Module):
    """Computes in fp32 whatever it gets."""

    traits: ClassVar[NumericTraits] = NumericTraits(precision="fp32")

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.norm = LlamaRMSNorm(hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class SequentialFFN(nn.Sequential):
    def __init__(self, hidden_size: int, ffn_hidden_size: int) -> None:
        super().__init__(
            nn.Linear(hidden_size, ffn_hidden_size), nn.GELU(), nn.Linear(ffn_hidden_size, hidden_size)
        )

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        if layout is None:
            return super().forward(x)
        return layout.zero_padding(super().forward(layout.zero_padding(x)))


class EncoderLayerFFN(SequentialFFN):
    """The FFN of torch's ``TransformerEncoderLayer``, with its dropout."""

    def __init__(self, hidden_size: int, ffn_hidden_size: int, *, dropout: float = 0.0) -> None:
        nn.Module.__init__(self)
        layer = nn.TransformerEncoderLayer(hidden_size, 2, ffn_hidden_size, dropout, "relu", batch_first=True)
        for name in ("linear1", "activation", "dropout", "linear2"):
            part = getattr(layer, name)
            self.add_module(name, part if isinstance(part, nn.Module) else nn.ReLU())


class BitLinear(nn.Linear):
    """Weights of one sign and one scale, and activations of 8 bits; gradients pass straight through."""

    def forward(self, x: Tensor) -> Tensor:
        scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-5) / 127
        x = x + ((x / scale).round() * scale - x).detach()
        signs = (self.weight - self.weight.mean()).sign() * self.weight.abs().mean()
        return F.linear(x, self.weight + (signs - self.weight).detach(), self.bias)


class BitFFN(SequentialFFN):
    traits: ClassVar[NumericTraits] = NumericTraits(straight_through=True)

    def __init__(self, hidden_size: int, ffn_hidden_size: int) -> None:
        nn.Sequential.__init__(
            self, BitLinear(hidden_size, ffn_hidden_size), nn.GELU(), BitLinear(ffn_hidden_size, hidden_size)
        )


class BitMean(Mixer):
    """A block with straight-through projections and a norm of torch's inside."""

    traits: ClassVar[Traits] = Traits(straight_through=True, symmetric=True)

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.norm = nn.LayerNorm(hidden_size)
        self.in_proj = BitLinear(hidden_size, hidden_size)
        self.out_proj = BitLinear(hidden_size, hidden_size)
        self.reset_parameters()

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        layout = layout or Layout.full(*x.shape[:2], x.device)
        v = self.in_proj(self.norm(self.enter(x, layout)))
        weights = torch.zeros(x.shape[1], x.shape[1], dtype=x.dtype, device=x.device)
        mask = layout.attention_mask(self.causal)
        mask = torch.ones_like(weights, dtype=torch.bool)[None] if mask is None else mask[:, 0]
        weights = mask.to(x.dtype).expand(-1, x.shape[1], -1)
        mean = weights @ v / weights.sum(-1, keepdim=True)
        return self.leave(self.out_proj(torch.tanh(v + mean)), layout)


class T5Bias(PositionCode):
    """The bucketed bias of T5, for both directions."""

    kind = "bias"

    def __init__(self, num_heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.table = nn.Embedding(32, num_heads)

    def bias(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        distance = layout.positions[:, None] - layout.positions[..., None]
        buckets = T5Attention._relative_position_bucket(distance, bidirectional=not self.causal)
        return self.table(buckets).permute(0, 3, 1, 2).to(dtype)


CASES = [
    *norm_cases([LayerNorm, TorchRMSNorm, OneLength, Llama]),
    *ffn_cases([SequentialFFN, EncoderLayerFFN, BitFFN]),
    *block_cases([BitMean]),
    *position_cases([T5Bias]),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_plugin_of_other_modules_keeps_every_rule(case: Case) -> None:
    report = run(trials([case]))
    assert not report.broken, report.summary() + "\n" + "\n".join(map(str, report.broken))
