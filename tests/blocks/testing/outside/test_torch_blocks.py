"""Blocks made of torch's own layers keep every rule, behind wrappers as a stranger writes them."""

from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from support.profile import NIGHTLY
from ultra_blocks.documents import by_document
from ultra_blocks.layout import Layout
from ultra_blocks.testing import block_cases, trials
from ultra_blocks.testing.cases import BlockCase
from ultra_blocks.traits import Traits
from ultra_core.testing import run


class MultiheadAttention(nn.Module):
    traits: ClassVar[Traits] = Traits(symmetric=True, largest_input=1e3)  # of the fused kernels

    def __init__(self, hidden_size: int, *, causal: bool = False, num_heads: int = 2) -> None:
        super().__init__()
        self.causal = causal
        self.attention = nn.MultiheadAttention(hidden_size, num_heads, batch_first=True)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return by_document(self.attend, x, layout)

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        return self.attention(
            x,
            x,
            x,
            key_padding_mask=~mask,
            attn_mask=future if self.causal else None,
            need_weights=False,
        )[0]


class BiLSTM(nn.Module):
    """Packed for speed; documents come one by one."""

    traits: ClassVar[Traits] = Traits(causal=False)

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(hidden_size, hidden_size // 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return by_document(self.run, x, layout)

    def run(self, x: Tensor, mask: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0]


class UnpackedLSTM(nn.Module):
    """Knows rows with padding on any side, but not documents within a row."""

    traits: ClassVar[Traits] = Traits(causal=False, packing=False)

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(hidden_size, hidden_size // 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        if not x.numel():
            return x
        layout = layout or Layout.full(x.shape[0], x.shape[1], x.device)
        order = layout.real_first
        rows = order.gather(layout.zero_padding(x))
        lengths = order.mask.sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(rows, lengths, batch_first=True, enforce_sorted=False)
        y = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])[0]
        return layout.zero_padding(order.scatter(y))


class GRU(nn.Module):
    """A causal block without an argument ``causal``, which decodes; its first state is learned."""

    traits: ClassVar[Traits] = Traits(bidirectional=False, recurrent_step=True)

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.gru = nn.GRU(hidden_size, hidden_size, batch_first=True)
        self.first = nn.Parameter(torch.zeros(1, 1, hidden_size))

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return by_document(
            lambda x, mask: self.gru(x, self.first.expand(1, len(x), -1).contiguous())[0], x, layout
        )

    def init_state(self, batch: int) -> Tensor | None:
        return None

    def step(self, x_t: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        state = self.first.expand(1, len(x_t), -1).contiguous() if state is None else state
        y, state = self.gru(x_t[:, None], state)
        return y[:, 0], state


class Convolution(nn.Module):
    """A residual-free depthwise convolution, with a scale of no dimension."""

    def __init__(self, hidden_size: int, *, causal: bool = False, width: int = 5) -> None:
        super().__init__()
        self.causal = causal
        self.width = width
        self.norm = nn.GroupNorm(1, hidden_size)
        self.convolution = nn.Conv1d(hidden_size, hidden_size, width, groups=hidden_size)
        self.scale = nn.Parameter(torch.tensor(1.0))

    traits: ClassVar[Traits] = Traits(full_context=False)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return by_document(self.convolve, x, layout)

    def convolve(self, x: Tensor, mask: Tensor) -> Tensor:
        normed = self.norm(x.flatten(0, 1)).view_as(x) * mask[..., None]
        left = self.width - 1 if self.causal else self.width // 2
        padded = F.pad(normed.mT, (left, self.width - 1 - left))
        return self.scale * self.convolution(padded).mT


class HalfPrecision(nn.Module):
    """Attention in bf16, whatever the dtype of its input."""

    traits: ClassVar[Traits] = Traits(precision="bf16", symmetric=True, largest_input=1e2)

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.out = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return by_document(self.attend, x, layout)

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self.qkv(x).bfloat16().unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        seen = mask[:, None, None].expand(-1, -1, x.shape[1], -1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen.tril() if self.causal else seen)
        return self.out(y.transpose(1, 2).flatten(2).to(x.dtype))


class LinearAttention(nn.Module):
    """Features ``elu(x) + 1``, which decode from a state of tensors that starts as None."""

    traits: ClassVar[Traits] = Traits(recurrent_step=True, symmetric=True)

    def __init__(self, hidden_size: int, *, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.causal = causal
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return by_document(self.attend, x, layout)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return F.elu(self.query(x)) + 1 + 1e-6, F.elu(self.key(x)) + 1 + 1e-6

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k = self.features(x)
        scores = q @ (k * mask[..., None]).mT
        scores = scores.tril() if self.causal else scores
        return self.dropout(scores @ self.value(x) / scores.sum(-1, keepdim=True))

    def init_state(self, batch: int) -> dict[str, Tensor | None]:
        if not self.causal:
            raise ValueError("LinearAttention: decoding needs causal=True")
        return {"products": None, "keys": None}

    def step(self, x_t: Tensor, state: dict[str, Tensor | None]) -> tuple[Tensor, dict[str, Tensor | None]]:
        q, k = self.features(x_t)
        new = {"products": k[:, :, None] * self.value(x_t)[:, None], "keys": k}
        new = {name: part if (old := state[name]) is None else old + part for name, part in new.items()}
        y = (q[:, None] @ new["products"])[:, 0] / (q * new["keys"]).sum(-1, keepdim=True)
        return y, {**new}


SLOW = (UnpackedLSTM, GRU)
BLOCKS = [MultiheadAttention, BiLSTM, Convolution, HalfPrecision, LinearAttention, *(SLOW if NIGHTLY else ())]
"""Recurrent layers take many seconds each: one of them is among the blocks of every run of the tests."""


def block_params(*classes: type[nn.Module]) -> list[object]:
    """Return a parameter for every direction of every class."""
    return [pytest.param(case, id=str(case).replace(" ", "-")) for case in block_cases(classes)]


@pytest.mark.parametrize("case", block_params(*BLOCKS))
def test_a_block_of_torch_layers_keeps_every_rule(case: BlockCase) -> None:
    report = run(trials([case]))
    assert not report.broken, report.summary() + "\n" + "\n".join(map(str, report.broken))
