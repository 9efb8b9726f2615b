"""Attention of transformers keeps every rule, behind wrappers as a stranger writes them."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, GPT2Config, ModernBertConfig, RoFormerConfig
from transformers.models.bert.modeling_bert import BertAttention, BertSelfAttention
from transformers.models.gpt2.modeling_gpt2 import GPT2Attention
from transformers.models.modernbert.modeling_modernbert import (
    ModernBertAttention,
    ModernBertRotaryEmbedding,
)
from transformers.models.roformer.modeling_roformer import RoFormerSelfAttention

from ultra_blocks.documents import by_document
from ultra_blocks.layout import Layout
from ultra_blocks.testing import block_cases, trials
from ultra_blocks.testing.cases import BlockCase
from ultra_blocks.traits import Traits
from ultra_core.testing import run


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the mask ``(S, 1, 1, L)`` that transformers adds to scores."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)[:, None, None]


class Bert(nn.Module):
    traits: ClassVar[Traits] = Traits(causal=False, symmetric=True)

    def __init__(self, hidden_size: int, *, num_heads: int = 2) -> None:
        super().__init__()
        config = BertConfig(
            hidden_size=hidden_size, num_attention_heads=num_heads, attention_probs_dropout_prob=0.0
        )
        self.attention = BertSelfAttention(config)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return by_document(lambda x, mask: self.attention(x, additive(mask, x.dtype))[0], x, layout)


class BertWithItsNorm(Bert):
    """The whole sublayer; its norm follows the residual sum, which the encoder of ultra adds again."""

    def __init__(self, hidden_size: int, *, num_heads: int = 2, dropout: float = 0.0) -> None:
        super().__init__(hidden_size, num_heads=num_heads)
        self.attention = BertAttention(
            BertConfig(
                hidden_size=hidden_size,
                num_attention_heads=num_heads,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
            )
        )


class ModernBert(nn.Module):
    """The softmax is in fp32, and the frequencies of the rotation are not saved."""

    traits: ClassVar[Traits] = Traits(causal=False, precision="fp32")

    def __init__(self, hidden_size: int, *, num_heads: int = 2) -> None:
        super().__init__()
        self.config = ModernBertConfig(
            hidden_size=hidden_size, num_attention_heads=num_heads, global_attn_every_n_layers=1
        )
        self.attention = ModernBertAttention(self.config, layer_idx=0)
        self.rotary = ModernBertRotaryEmbedding(self.config)

    def reset_buffers(self) -> None:
        with torch.device("cpu"):
            fresh = ModernBertRotaryEmbedding(self.config)
        for name, buffer in fresh.named_buffers():
            self.rotary.get_buffer(name).copy_(buffer)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return by_document(self.attend, x, layout)

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        positions = torch.arange(x.shape[1], device=x.device)[None]
        angles = self.rotary(x, positions, "full_attention")
        return self.attention(x, angles, additive(mask, x.dtype))[0]


class RoFormer(nn.Module):
    """Its table of sines ends at ``max_position_embeddings``."""

    traits: ClassVar[Traits] = Traits(causal=False, longest=256)

    def __init__(self, hidden_size: int, *, num_heads: int = 2) -> None:
        super().__init__()
        config = RoFormerConfig(
            hidden_size=hidden_size, num_attention_heads=num_heads, attention_probs_dropout_prob=0.0
        )
        self.attention = RoFormerSelfAttention(config)
        width = hidden_size // num_heads
        angles = torch.arange(256)[:, None] * 10000.0 ** -(torch.arange(0, width, 2) / width)
        self.register_buffer("sines", torch.cat([angles.sin(), angles.cos()], -1))

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return by_document(self.attend, x, layout)

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        sines = self.sines[None, None, : x.shape[1]]
        return self.attention(x, additive(mask, x.dtype), sines)[0]


class GPT2(nn.Module):
    """Its projections need contiguous memory."""

    traits: ClassVar[Traits] = Traits(bidirectional=False)

    def __init__(self, hidden_size: int, *, num_heads: int = 2) -> None:
        super().__init__()
        config = GPT2Config(n_embd=hidden_size, n_head=num_heads, attn_pdrop=0.0, resid_pdrop=0.0)
        self.attention = GPT2Attention(config, layer_idx=0)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return by_document(self.attend, x, layout)

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        seen = additive(mask, x.dtype).masked_fill(future, torch.finfo(x.dtype).min)
        return self.attention(x, attention_mask=seen)[0]


CASES = list(block_cases([Bert, BertWithItsNorm, ModernBert, RoFormer, GPT2]))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_attention_of_transformers_keeps_every_rule(case: BlockCase) -> None:
    report = run(trials([case]))
    assert not report.broken, report.summary() + "\n" + "\n".join(map(str, report.broken))
