"""The sides of ``optimizers.py``: optimizers over their own copies of the parameters, which take turns."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs
import torch
from torch import Tensor, nn

import ultra_optim
from ultra_blocks.config import UltraConfig
from ultra_blocks.encoder import Encoder
from ultra_optim.contract.traits import MATRIX_KINDS, traits_of

SIZES = {
    "encoder": {"vocab_size": 16_000, "hidden_size": 384, "num_layers": 6, "num_heads": 6},
    "bert-base": {"vocab_size": 30_522, "hidden_size": 768, "num_layers": 12, "num_heads": 12},
}
PROBE = 256
"""Number of elements of a tensor that are checked for changes after a step."""

WARM_UP = 3
"""Steps that are not timed: compilation, allocation, steps that only initialise state."""

IDLE = 8
"""Steps within which a method must change a parameter; pytorch_optimizer's RAdam starts at the sixth."""

SLOW = 4
"""Divisor of the budget of a side that is measured on a few of the layers."""


class Steps(Protocol):
    """An optimizer, or several that share the parameters of a model."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any:
        """Take a step with the gradients that the parameters have."""


@attrs.frozen
class Parts:
    """The parameters of a model: hidden matrices and others."""

    model: nn.Module
    matrices: list[Tensor]
    others: list[Tensor]

    @classmethod
    def of(cls, model: nn.Module, layers: int | None = None) -> Parts:
        """Sort the parameters; with ``layers``, only the hidden matrices of the first layers."""
        matrices, others = [], []
        information = ultra_optim.describe(model)
        for name, p in model.named_parameters():
            kind = matrices if information[name].kind in MATRIX_KINDS else others
            if layers is None or (kind is matrices and int(name.split(".")[1]) < layers):
                kind.append(p)
        return cls(model, matrices, others)

    @property
    def everything(self) -> list[Tensor]:
        """All parameters."""
        return [*self.matrices, *self.others]


class Load:
    """The parameters of an encoder and gradients for them, which all sides share."""

    def __init__(self, size: str, device: str, dtype: torch.dtype) -> None:
        fields = SIZES[size]
        width = fields["hidden_size"]
        config = UltraConfig(
            **fields,
            ffn_hidden_size=4 * width,
            layer_pattern=("standard_attn",),
            use_moe=False,
            use_hope=False,
        )
        self.model = Encoder(config).to(device, dtype)
        self.layers = fields["num_layers"]
        self.device, self.dtype = device, dtype
        generator = torch.Generator().manual_seed(0)
        shapes = [p.shape for p in self.model.parameters()]
        self.gradients = [
            [(1e-2 * torch.randn(s, generator=generator)).to(device, dtype) for s in shapes] for _ in range(2)
        ]
        self.given = [torch.empty_like(g) for g in self.gradients[0]]
        self.numbers = sum(p.numel() for p in self.model.parameters())

    def give(self, model: nn.Module, count: int) -> None:
        """Give a model its gradients of this step; what another side did to them does not matter."""
        torch._foreach_copy_(self.given, self.gradients[count % 2])
        for p, gradient in zip(model.parameters(), self.given, strict=True):
            p.grad = gradient

    def wait(self) -> None:
        """Wait until the device has finished its work."""
        if self.device != "cpu":
            torch.cuda.synchronize()


class Side:
    """The steps of an optimizer; a call takes a step and returns its seconds.

    Args:
        load: parameters and gradients.
        make: builds the optimizer.
        layers: number of layers whose hidden matrices are updated; None updates everything.

    A slow method may be timed on some of the equal layers; all layers take ``factor`` times as long.
    """

    def __init__(self, load: Load, make: Callable[[Parts], Steps], layers: int | None = None) -> None:
        self.load = load
        self.model = copy.deepcopy(load.model)
        self.optimizer = make(Parts.of(self.model, layers))
        self.factor = 1 if layers is None else load.layers / layers
        self.sampled = layers is not None
        self.held = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.never = set(range(len(self.held)))
        self.count, self.idle = 0, 0

    def __call__(self) -> float:
        if traits_of(self.optimizer).needs_logits:
            self.model(torch.zeros(1, 8, dtype=torch.long, device=self.load.device))  # blocks record theirs
        self.load.give(self.model, self.count)
        self.count += 1
        before = self._probe()
        self.load.wait()
        start = time.perf_counter()
        self.optimizer.step()
        self.load.wait()
        seconds = time.perf_counter() - start
        self._watch(before)
        if getattr(self.optimizer, "curvature_due", False):
            self.optimizer.curvature_step(self._again)
        return seconds

    def _probe(self) -> list[Tensor]:
        return [p.detach().flatten()[:PROBE].clone() for p in self.held]

    def _watch(self, before: Sequence[Tensor]) -> None:
        """Record which tensors changed, and whether none did."""
        moved = {
            i for i, (a, b) in enumerate(zip(before, self._probe(), strict=True)) if not torch.equal(a, b)
        }
        self.never -= moved
        self.idle = 0 if moved else self.idle + 1

    def _again(self) -> float:
        self.load.give(self.model, self.count)
        return 1.0

    def warm_up(self, budget: float) -> float:
        """Take the steps that are not timed, fewer if they are slow; return the seconds of the first."""
        first = spent = self()
        while (self.count < WARM_UP and spent < budget / SLOW) or (self.idle and self.count < IDLE):
            spent += self()
        return first

    def check(self) -> None:
        """Raise if the last step changed nothing or, in fp32, if some tensor never changed."""
        names = {p: name for name, p in self.model.named_parameters()}
        still = [names[self.held[i]] for i in sorted(self.never)] if self.load.dtype == torch.float32 else []
        if self.idle or still:
            raise SystemExit(
                f"{type(self.optimizer).__module__}.{type(self.optimizer).__name__} changed nothing: "
                f"{self.idle} idle steps at the end, never changed: {', '.join(still[:5]) or 'none'}"
            )

    def state_bytes(self, p: Tensor | None = None) -> int:
        """Return the bytes of state of a parameter, or of all."""
        state = self.optimizer.state  # type: ignore[attr-defined]
        entries = [state[p]] if p is not None else state.values()
        tensors = [v for entry in entries for v in entry.values() if isinstance(v, Tensor)]
        return sum(t.numel() * t.element_size() for t in tensors)


Work = Callable[[], float]


def take_turns(
    works: Mapping[Any, Work], rounds: int, limits: Mapping[Any, float], given: Mapping[Any, float]
) -> dict[Any, list[float]]:
    """Call all functions once in each round, in a new random order.

    Args:
        works: functions that return seconds.
        rounds: number of rounds.
        limits: seconds after which a function is not called any more.
        given: figures that were measured already.
    """
    shuffler, order = random.Random(0), list(works)
    figures: dict[Any, list[float]] = {key: [given[key]] if key in given else [] for key in works}
    for _ in range(rounds):
        shuffler.shuffle(order)
        for key in order:
            if sum(figures[key]) < limits[key] and len(figures[key]) < rounds:
                figures[key].append(works[key]())
    return figures
