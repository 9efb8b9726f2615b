"""Plugins without a reference whose formula contradicts the traits that they declare."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer
from ultra_blocks.norms.base import Norm
from ultra_blocks.traits import NormTraits, Traits


class Plain(Mixer):
    """Softmax attention as it should be, and all that it needs."""

    role: ClassVar[str] = "attention"
    traits: ClassVar[Traits] = Traits(symmetric=True, averages=True, scaled_scores=True)

    def __init__(self, hidden_size: int, *, num_heads: int = 2, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.num_heads = num_heads
        self.qkv_proj = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.out_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.reset_parameters()

    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        return {"qkv_proj.weight": (self.hidden_size,) * 3}

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        layout = layout or Layout.full(x.shape[0], x.shape[1], x.device)
        x = self.enter(x, layout)
        q, k, v = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in self.qkv_proj(x).chunk(3, -1)
        )
        documents = layout.documents
        seen = (documents[:, :, None] == documents[:, None]) & layout.mask[:, None]
        seen = (seen.tril() if self.causal else seen)[:, None]
        scores = (q @ k.mT * self.scale(q)).masked_fill(~seen, torch.finfo(q.dtype).min)
        y = self.weights(scores, seen) @ v
        return self.leave(self.out_proj(y.transpose(1, 2).flatten(2)), layout)

    def scale(self, q: Tensor) -> float:
        return float(q.shape[-1] ** -0.5)

    def weights(self, scores: Tensor, seen: Tensor) -> Tensor:
        del seen
        return scores.softmax(-1)


class AddsOneToTheSum(Plain):
    """``exp(s) / (1 + sum exp(s))``, from which a token may turn away."""

    def weights(self, scores: Tensor, seen: Tensor) -> Tensor:
        zero = torch.zeros_like(scores[..., :1])
        return torch.cat((scores, zero), -1).softmax(-1)[..., :-1]


class AttendsToAZero(Plain):
    """Causal: a key of zeros precedes the first token."""

    def weights(self, scores: Tensor, seen: Tensor) -> Tensor:
        first = torch.zeros_like(scores[..., :1])
        return torch.cat((first, scores), -1).softmax(-1)[..., 1:]


class DividesByOneKeyLess(Plain):
    """Weights ``sigmoid(s) / (n - 1)``, or of a token alone ``sigmoid(s)``."""

    def weights(self, scores: Tensor, seen: Tensor) -> Tensor:
        number = (seen.sum(-1, keepdim=True) - 1).clamp(min=1)
        return scores.sigmoid() / number


class LeavesItselfOutOfTheSum(Plain):
    """The sum of the weights lacks the token's own."""

    def weights(self, scores: Tensor, seen: Tensor) -> Tensor:
        weights = scores.softmax(-1)
        others = 1 - weights.diagonal(dim1=-2, dim2=-1)[..., None] * (seen.sum(-1, keepdim=True) > 1)
        return weights / others


class NormalisesTheColumns(Plain):
    """The softmax is over queries instead of keys."""

    def weights(self, scores: Tensor, seen: Tensor) -> Tensor:
        return torch.where(seen, scores.softmax(-2), 0.0)


class ScalesNothing(Plain):
    def scale(self, q: Tensor) -> float:
        return 1.0


class ScalesByTheWidthOfAHead(Plain):
    """``1 / d``."""

    def scale(self, q: Tensor) -> float:
        return 1 / q.shape[-1]


class ScalesByTheWidthOfTheBlock(Plain):
    """``1 / sqrt(D)``."""

    def scale(self, q: Tensor) -> float:
        return float(self.hidden_size**-0.5)


class ScalesTwice(Plain):
    """Queries and scores are both divided by ``sqrt(d)``, as with a fused kernel after a manual scale."""

    def scale(self, q: Tensor) -> float:
        return super().scale(q) ** 2


class Standard(Norm):
    """Layer normalisation as it should be, without gain and bias."""

    traits: ClassVar[NormTraits] = NormTraits(
        scale_invariant=True, shift_invariant=True, zero_mean=True, unit_rms=True
    )

    def forward(self, x: Tensor) -> Tensor:
        centred = self.centre(x)
        return centred * (self.spread(centred) + 1e-5).rsqrt()

    def centre(self, x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True)

    def spread(self, x: Tensor) -> Tensor:
        return x.square().mean(-1, keepdim=True)


class DividesByOneChannelLess(Standard):
    """The variance is the unbiased estimate."""

    def spread(self, x: Tensor) -> Tensor:
        return x.var(-1, keepdim=True)


class KeepsTheMean(Standard):
    def centre(self, x: Tensor) -> Tensor:
        return x


class TakesTheMeanOfMagnitudes(Standard):
    def spread(self, x: Tensor) -> Tensor:
        return x.abs().mean(-1, keepdim=True).square()


class DividesByTheNorm(Standard):
    """The sum of squares, not their mean."""

    def spread(self, x: Tensor) -> Tensor:
        return x.square().sum(-1, keepdim=True)


class ForgetsTheRoot(Standard):
    """Tokens are divided by the variance."""

    def spread(self, x: Tensor) -> Tensor:
        return x.square().mean(-1, keepdim=True).square()


class MeasuresBeforeTheMean(Standard):
    """The mean square of the token itself, not of what is left after the mean."""

    def forward(self, x: Tensor) -> Tensor:
        return self.centre(x) * (self.spread(x) + 1e-5).rsqrt()


MUTANTS: list[tuple[Any, ...]] = [
    ("B31", AddsOneToTheSum),
    ("B31", AttendsToAZero, {"causal": True}),
    ("B31", DividesByOneKeyLess),
    ("B31", LeavesItselfOutOfTheSum),
    ("B31", NormalisesTheColumns, {"causal": True}),
    ("B32", ScalesNothing),
    ("B32", ScalesByTheWidthOfAHead),
    ("B32", ScalesByTheWidthOfTheBlock),
    ("B32", ScalesTwice, {"causal": True}),
    ("N6", DividesByOneChannelLess),
    ("N6", KeepsTheMean),
    ("N6", TakesTheMeanOfMagnitudes),
    ("N6", DividesByTheNorm),
    ("N6", ForgetsTheRoot),
    ("N6", MeasuresBeforeTheMean),
]
