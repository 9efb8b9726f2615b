"""Feed-forward networks that do not treat every token by itself, or every call alike."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.ffn.moe import MoE
from ultra_blocks.functional.experts import Routing, route
from ultra_blocks.layout import Layout


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


class DropsBeyondCapacity(MoE):
    """Each expert takes 1.25 times its share of the tokens of a batch; the rest get nothing."""

    def forward(self, x: Tensor, layout: Layout | None = None) -> Any:
        y = super().forward(x, layout)
        branch = y[0] if isinstance(y, tuple) else y
        tokens = x.flatten(0, 1)
        first = self.router(tokens.detach()).argmax(-1)
        rank = F.one_hot(first, self.num_experts).cumsum(0).gather(1, first[:, None])[:, 0]
        kept = rank <= max(8, 1.25 * len(tokens) / self.num_experts)
        branch = branch * kept.view(*x.shape[:2], 1)
        return (branch, y[1]) if isinstance(y, tuple) else branch


class LetsExpertsChoose(MLP):
    """Half of the tokens of the batch are chosen, by their scores, and only these are processed."""

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        y = super().forward(x, layout)
        score = x.detach().sum(-1)
        return torch.where((score >= score.median())[..., None], y, 0.0) if x.shape[1] > 40 else y


class QuantisesByTheBatch(MLP):
    """Activations are rounded to 1/1000 of the largest one of the batch."""

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        x = self.enter(x, layout)
        step = x.detach().abs().max() / 1000 if x.numel() else 1.0
        return super().forward(x + ((x / step).round() * step - x).detach() if x.shape[1] > 40 else x, layout)


class NormalisesTheBatchInTraining(MLP):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        x = self.enter(x, layout)
        return super().forward(x - x.mean((0, 1)) if self.training else x, layout)


class ShiftsLongRows(MLP):
    """Beyond 64 tokens, half of the channels are those of the token before."""

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        if x.shape[1] > 64:
            old, new = x.chunk(2, -1)
            x = torch.cat((old.roll(1, 1), new), -1)
        return super().forward(x, layout)


class MixesRowsOfLargeBatches(MLP):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        y = super().forward(x, layout)
        return y + 1e-6 * y.roll(1, 0) if len(x) > 2 else y


class NeedsAToken(MLP):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return super().forward(x / x.detach().abs().max().clamp(max=1.0), layout)


class DropsBeyondItsShare(MoE):
    """Tokens beyond the share of their first expert get nothing, if the batch is large."""

    share = 0.7
    modes = (False, True)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Any:
        y = super().forward(x, layout)
        branch = y[0] if isinstance(y, tuple) else y
        first = self.router(x.detach().flatten(0, 1)).argmax(-1)
        rank = F.one_hot(first, self.num_experts).cumsum(0).gather(1, first[:, None])[:, 0]
        kept = (rank <= max(40, self.share * len(first))).view(*x.shape[:2], 1)
        branch = branch * kept if self.training in self.modes else branch
        return (branch, y[1]) if isinstance(y, tuple) else branch


class DropsInTraining(DropsBeyondItsShare):
    """The limit holds in training only."""

    share = 0.3
    modes = (True,)


class NeverTakesTheLastExpert(MoE):
    def route(self, tokens: Tensor) -> Routing:
        routing = super().route(tokens)
        return route(routing.logits[:, :-1], self.top_k)._replace(
            logits=routing.logits,
            probabilities=routing.probabilities,
            loads=F.pad(route(routing.logits[:, :-1], self.top_k).loads, (0, 1)),
        )


class ReadsHalfOfItsChannels(MLP):
    """The second half of the inner channels is computed and never read."""

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        inner = F.gelu(self.up(self.enter(x, layout)))
        half = inner.shape[-1] // 2
        return F.linear(inner[..., :half], self.down.weight[:, :half])


class KeepsAnIdleGain(MLP):
    def __init__(self, hidden_size: int, ffn_hidden_size: int) -> None:
        super().__init__(hidden_size, ffn_hidden_size)
        self.gain = torch.nn.Parameter(torch.ones(hidden_size))


MUTANTS: list[tuple[Any, ...]] = [
    ("F1", LeaksIntoGradients),
    ("F2", DrawsInEvaluation),
    ("F3", HidesAConstant),
    ("F1b", DropsBeyondCapacity),
    ("F1b", LetsExpertsChoose),
    ("F1b", QuantisesByTheBatch),
    ("F1b", NormalisesTheBatchInTraining),
    ("F1b", ShiftsLongRows),
    ("F1b", MixesRowsOfLargeBatches),
    ("F1c", NeedsAToken),
    ("F1b", DropsBeyondItsShare),
    ("F1b", DropsInTraining),
    ("F3", NeverTakesTheLastExpert),
    ("F3", ReadsHalfOfItsChannels),
    ("F3", KeepsAnIdleGain),
]
