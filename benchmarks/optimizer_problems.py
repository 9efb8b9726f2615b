"""Problems for optimizers: two functions of a matrix, a small network, a small encoder.

The first three are half the mean of squared residuals, so that the curvature pass has something to draw:
residuals of normal labels.
"""

from __future__ import annotations

import abc
import functools
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ultra_blocks.config import UltraConfig
from ultra_blocks.encoder import Encoder
from ultra_blocks.encoder.mlm_head import MLMHead
from ultra_blocks.layout import Layout
from ultra_optim.testing.subject import Bag, Head
from ultra_train.data import es_commands

CACHE = Path(".cache/bench/optimizers")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Problem(abc.ABC):
    """A function of parameters; every start and every batch is the same for all optimizers."""

    name: str
    steps: int

    @abc.abstractmethod
    def start(self) -> nn.Module:
        """Return the model before the first update."""

    @abc.abstractmethod
    def loss(self, model: nn.Module, step: int) -> Tensor:
        """Return the loss of the batch of this step."""

    @abc.abstractmethod
    def sampled(self, model: nn.Module, step: int) -> tuple[Tensor, int]:
        """Return the mean loss against labels sampled from the predictions, and their number."""

    @abc.abstractmethod
    def judged(self, model: nn.Module) -> float:
        """Return the loss for the table."""


class Squares(Problem):
    """Half the mean of squared residuals."""

    unit = 1.0
    """By what the residuals are divided for training: it keeps the curvature where the weights of a function
    are as small as those of networks."""

    @abc.abstractmethod
    def residuals(self, model: nn.Module, step: int | None) -> Tensor:
        """Return them for the batch of a step; for everything if it is None."""

    def loss(self, model: nn.Module, step: int) -> Tensor:
        return self.residuals(model, step).square().mean() / 2

    def sampled(self, model: nn.Module, step: int) -> tuple[Tensor, int]:
        residuals = self.residuals(model, step)
        drawn = residuals.detach() + torch.randn(residuals.shape, generator=generator(step))
        return (residuals - drawn).square().mean() / 2, residuals.numel()

    @torch.no_grad()
    def judged(self, model: nn.Module) -> float:
        return self.unit**2 * float(self.residuals(model, None).square().mean() / 2)


class Rosenbrock(Squares):
    """32 valleys, 100 (y - x^2)^2 + (1 - x)^2 from about (-1.2, 1), in one matrix of x/50 and y/50."""

    name, steps, unit = "Rosenbrock", 120, 50.0

    def start(self) -> nn.Module:
        x, y = torch.full((8, 4), -1.2), torch.ones(8, 4)
        noise = 0.05 * torch.randn(8, 8, generator=generator(0))
        return Bag([(torch.cat([x, y], dim=1) + noise) / self.unit])

    def residuals(self, model: nn.Module, step: int | None) -> Tensor:
        x, y = (self.unit * next(model.parameters())).chunk(2, dim=1)
        return torch.cat([10 * (y - x.square()), 1 - x]) / self.unit


class Quadratic(Squares):
    """A (W - W*) B of 384 numbers with curvatures between 1 and 10^-4, W* of size 1/50."""

    name, steps, unit = "quadratic", 120, 50.0
    SCALE = 384**0.5
    """Makes 1 the largest curvature, although the loss is a mean."""

    def __init__(self) -> None:
        self.left, self.right = self._factor(16, 1), self._factor(24, 2)
        self.target = torch.randn(16, 24, generator=generator(3)) / self.unit

    def _factor(self, size: int, seed: int) -> Tensor:
        basis = torch.linalg.qr(torch.randn(size, size, generator=generator(seed)))[0]
        return basis * torch.logspace(0, -1, size) @ basis.T

    def start(self) -> nn.Module:
        return Bag([torch.zeros(16, 24)])

    def residuals(self, model: nn.Module, step: int | None) -> Tensor:
        return self.SCALE * (self.left @ (next(model.parameters()) - self.target) @ self.right)


class Network(Head, nn.Sequential):
    """Layers one after the other; for what bounds logits, its weights are a head whose logits are small."""


class Regression(Squares):
    """A network of 8, 32, 32, 1 fitted to one of 8, 16, 1 with batches of 32 out of 512."""

    name, steps = "MLP", 120

    def __init__(self) -> None:
        self.inputs = torch.randn(512, 8, generator=generator(4))
        first = torch.randn(8, 16, generator=generator(5))
        second = torch.randn(16, 1, generator=generator(6)) / 4
        self.targets = torch.tanh(self.inputs @ first) @ second

    def start(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Network(
                nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)
            )  # fmt: skip

    def residuals(self, model: nn.Module, step: int | None) -> Tensor:
        chosen = slice(None) if step is None else torch.randint(0, 512, (32,), generator=generator(step))
        return model(self.inputs[chosen]) - self.targets[chosen]


class MaskedLM(nn.Module):
    """An encoder with the head of masked language modelling."""

    def __init__(self, words: int) -> None:
        super().__init__()
        config = UltraConfig(
            vocab_size=words, hidden_size=64, num_layers=4, num_heads=4, ffn_hidden_size=128, dropout=0.0,
            layer_pattern=("standard_attn",), norm_type="layer_norm", use_moe=False, use_hope=False,
        )  # fmt: skip
        self.encoder, self.head = Encoder(config), MLMHead.from_config(config)
        self.encoder.reset_parameters()
        self.head.tie(self.encoder.embeddings)

    def forward(self, ids: Tensor, present: Tensor, masked: Tensor) -> Tensor:
        """Ids and masks (batch, time) to logits of masked positions (masked, words)."""
        return self.head(self.encoder(ids, Layout.from_mask(present)).hidden[masked])


class MaskedWords(Problem):
    """Four layers of attention, 64 wide, on masked words of embedded sentences, 32 a batch; judged on 256
    others."""

    name, steps = "encoder", 60
    PAD, MASK, OTHER = 0, 1, 2
    WORDS, LENGTH, BATCH, HELD_OUT = 500, 16, 32, 256

    @functools.cached_property
    def sentences(self) -> Tensor:
        """Ids (sentences, time) of sentences in a fixed random order, filled up with ``PAD``."""
        texts = [s.text.lower().split()[: self.LENGTH] for s in es_commands.sentences("es", cache_dir=CACHE)]
        common = Counter(word for text in texts for word in text).most_common(self.WORDS - 3)
        ids = {word: index + 3 for index, (word, _) in enumerate(common)}
        order = torch.randperm(len(texts), generator=generator(7))[:4096].tolist()
        rows = [[ids.get(word, self.OTHER) for word in texts[index]] for index in order]
        return torch.tensor([row + [self.PAD] * (self.LENGTH - len(row)) for row in rows])

    def start(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return MaskedLM(self.WORDS)

    def _masked(self, ids: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return ids with masks, what is present, what is masked, and the words there."""
        present = ids != self.PAD
        masked = (torch.rand(ids.shape, generator=generator(seed)) < 0.2) & present
        masked[:, 0] |= ~masked.any(dim=1)
        return ids.masked_fill(masked, self.MASK), present, masked, ids[masked]

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows = torch.randint(
            self.HELD_OUT, len(self.sentences), (self.BATCH,), generator=generator(1000 + step)
        )
        return self._masked(self.sentences[rows], step)

    def loss(self, model: nn.Module, step: int) -> Tensor:
        *inputs, words = self._batch(step)
        return functional.cross_entropy(model(*inputs), words)

    def sampled(self, model: nn.Module, step: int) -> tuple[Tensor, int]:
        *inputs, words = self._batch(step)
        logits = model(*inputs)
        drawn = torch.multinomial(logits.detach().softmax(-1), 1, generator=generator(step)).squeeze(-1)
        return functional.cross_entropy(logits, drawn), len(words)

    @torch.no_grad()
    def judged(self, model: nn.Module) -> float:
        *inputs, words = self._masked(self.sentences[: self.HELD_OUT], 0)
        return float(functional.cross_entropy(model(*inputs), words))
