"""Plugins whose traits say what is not so, or hide a fault behind a trait that loosens a rule."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.documents import by_document
from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.layout import Layout
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.traits import NumericTraits, Traits


class Attention(nn.Module):
    """Attention of torch, without a fault, from which mutants derive."""

    traits: ClassVar[Traits] = Traits(symmetric=True, largest_input=1e3)

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.attention = nn.MultiheadAttention(hidden_size, 2, batch_first=True)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return by_document(self.attend, x, layout)

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if self.causal else None
        return self.attention(x, x, x, key_padding_mask=~mask, attn_mask=future, need_weights=False)[0]


def rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``x`` rounded to a dtype, with the gradient of the identity."""
    return x + (x.to(dtype).to(x.dtype) - x).detach()


class Bf16(Attention):
    """Rounds to bf16 inside, without a fault."""

    traits: ClassVar[Traits] = Traits(precision="bf16", largest_input=1e3)

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        return rounded(super().attend(rounded(x, torch.bfloat16), mask), torch.bfloat16)


class GrowsBesidePadding(Bf16):
    """10 % too large where there is padding, which bf16 does not excuse."""

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        y = super().forward(x, layout)
        return y * 1.1 if layout is not None and layout.padded else y


class GradientTooLarge(Bf16):
    """The gradient is 15 % too large, which bf16 does not excuse."""

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        y = super().attend(x, mask)
        return y + 0.15 * (y - y.detach())


class GradientOfPaddingLeaks(Bf16):
    """The gradient of a parameter depends on the number of documents."""

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        y = super().forward(x, layout)
        packed = layout is not None and layout.packed
        return y + 0.5 * (y - y.detach()) if packed else y


class SaysFp32(Bf16):
    """Computes in bf16, and says fp32."""

    traits: ClassVar[Traits] = Traits(precision="fp32", largest_input=1e3)


class NeedsNoTolerance(Attention):
    """Says bf16 and is exact."""

    traits: ClassVar[Traits] = Traits(precision="bf16", largest_input=1e3)


class SaysBf16(Attention):
    """Computes in fp32, and says bf16."""

    traits: ClassVar[Traits] = Traits(precision="bf16", largest_input=1e3)

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        return rounded(super().attend(rounded(x, torch.float32), mask), torch.float32)


class ForgetsMaskOfBf16(Bf16):
    """Rows attend to the padding of shorter rows."""

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        return super().attend(x, torch.ones_like(mask))


class Rounds(nn.Linear):
    """A projection with signs for weights, and gradients that pass straight through, without a fault."""

    def forward(self, x: Tensor) -> Tensor:
        signs = self.weight.sign() * self.weight.detach().abs().mean()
        return F.linear(x, self.straight(signs), self.bias)

    def straight(self, signs: Tensor) -> Tensor:
        return self.weight + (signs - self.weight).detach()


class Signs(Attention):
    """Has such a projection, without a fault."""

    traits: ClassVar[Traits] = Traits(straight_through=True, symmetric=True, largest_input=1e3)
    projection: ClassVar[type[nn.Linear]] = Rounds

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.out_proj = self.projection(hidden_size, hidden_size)

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.out_proj(super().attend(x, mask))


class Blocked(Rounds):
    def straight(self, signs: Tensor) -> Tensor:
        return signs


class HasNoGradient(Signs):
    """The sign itself, whose gradient is zero."""

    projection: ClassVar[type[nn.Linear]] = Blocked


class Mirrored(Rounds):
    def straight(self, signs: Tensor) -> Tensor:
        return -self.weight + (signs + self.weight).detach()


class ClimbsDown(Signs):
    """The gradient of the weights has the wrong sign."""

    projection: ClassVar[type[nn.Linear]] = Mirrored


class Scaled(Rounds):
    def straight(self, signs: Tensor) -> Tensor:
        return 10 * self.weight + (signs - 10 * self.weight).detach()


class GradientTenTimes(Signs):
    """The gradient forgets the scale of the weights."""

    projection: ClassVar[type[nn.Linear]] = Scaled


class IsSmooth(Attention):
    """Excuses a detached factor by rounding that it does not do."""

    traits: ClassVar[Traits] = Traits(straight_through=True, largest_input=1e3)

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        y = super().attend(x, mask)
        return y * y.detach().tanh()


class RoundsWithoutSaying(Signs):
    """Rounds, and does not declare it."""

    traits: ClassVar[Traits] = Traits(symmetric=True, largest_input=1e3)


class SmoothFFN(MLP):
    """An FFN with that excuse."""

    traits: ClassVar[NumericTraits] = NumericTraits(straight_through=True)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        y = super().forward(x, layout)
        return y * y.detach().tanh()


class ExactNorm(RMSNorm):
    """A norm with a wrong gradient and the tolerance of bf16."""

    traits: ClassVar[NumericTraits] = NumericTraits(precision="bf16")

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y + 0.3 * (y - y.detach())


class LeaksWithoutPacking(Attention):
    """Does not pack, and does not mask padding either."""

    traits: ClassVar[Traits] = Traits(packing=False, largest_input=1e3)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return self.attend(x, torch.ones(x.shape[:2], dtype=torch.bool)) if x.numel() else x


class MixesRowsWithoutPacking(Attention):
    """Does not pack, and takes the mean over all rows."""

    traits: ClassVar[Traits] = Traits(packing=False, largest_input=1e3)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        y = super().forward(x, layout)
        y = y + 1e-3 * y.mean(0, keepdim=True)
        return layout.zero_padding(y) if layout is not None else y


class Tabled(Attention):
    """Adds a table of positions, without a fault."""

    rows: ClassVar[int] = 40
    traits: ClassVar[Traits] = Traits(longest=40, largest_input=1e3)

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.table = nn.Parameter(torch.zeros(self.rows, hidden_size))

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        return super().attend(x + self.table[torch.arange(x.shape[1])], mask)


class OneRowShort(Tabled):
    """The table ends a row before the limit that is declared."""

    rows: ClassVar[int] = 39


class OverflowsEarly(Attention):
    """Declares a largest input of 5, to hide an exponential that overflows at 9."""

    traits: ClassVar[Traits] = Traits(largest_input=5.0)

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        return super().attend(x * (x * x).exp(), mask)


MUTANTS: list[tuple[Any, ...]] = [
    ("B1", GrowsBesidePadding),
    ("B10", GradientTooLarge),
    ("B7", GradientOfPaddingLeaks),
    ("B10", SaysFp32),
    ("B10c", NeedsNoTolerance),
    ("B10c", SaysBf16),
    ("B2", ForgetsMaskOfBf16),
    ("B10", HasNoGradient),
    ("B10", ClimbsDown),
    ("B10", GradientTenTimes),
    ("B10", IsSmooth),
    ("B10", RoundsWithoutSaying),
    ("F2", SmoothFFN),
    ("N3", ExactNorm),
    ("B1", LeaksWithoutPacking),
    ("B2", MixesRowsWithoutPacking),
    ("U3", OneRowShort),
    ("B11", OverflowsEarly),
]
