"""The optimizer under test, and small models to train with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ultra_core.contracts import LogitRows, ParamInfo
from ultra_core.errors import PluginError
from ultra_core.plugins.signatures import read_options
from ultra_optim.contract.traits import MATRIX_KINDS, OptimizerTraits, traits_of
from ultra_optim.roles.build import build


@attrs.frozen
class Subject:
    """An optimizer class under test, with constructor options."""

    name: str
    cls: type[Optimizer]
    options: Mapping[str, Any] = attrs.field(factory=dict)

    def __str__(self) -> str:
        return self.name

    @property
    def traits(self) -> OptimizerTraits:
        """The traits that the class declares."""
        return traits_of(self.cls)

    def has(self, option: str) -> bool:
        """Whether the constructor has this option; never, if its signature cannot be read, as C1 reports."""
        try:
            return option in read_options(self.cls)
        except PluginError:
            return False

    @property
    def default_rate(self) -> float:
        """The default learning rate; 0.001 where there is none."""
        option = read_options(self.cls).get("lr")
        return 1e-3 if option is None or option.required else float(option.default)

    def takes(self, parameter: Tensor) -> bool:
        """Whether the traits say that it takes parameters with so many dimensions."""
        return self.traits.dimensions is None or parameter.ndim in self.traits.dimensions

    def build(self, model: nn.Module, *, roles: Any = None, **options: Any) -> Optimizer:
        """Build the optimizer over a model; ``weight_decay`` is ignored where it is not an option.

        Parameters that the optimizer does not take are frozen.
        """
        for parameter in model.parameters():
            parameter.requires_grad_(self.takes(parameter))
        options = {**self.options, **options}
        options.setdefault("total_steps", 100)
        if not self.has("weight_decay"):
            options.pop("weight_decay", None)
        return build(self.cls, model, roles=roles, **options)

    def over_groups(self, params: Any, model: nn.Module | None = None) -> Optimizer:
        """Build the optimizer over parameters or groups, whose options come first."""
        supplied: dict[str, Any] = {"lr": self.default_rate, "total_steps": 100, "model": model}
        return self.cls(params, **{n: v for n, v in supplied.items() if self.has(n)} | dict(self.options))

    def over(self, tensors: Sequence[Tensor], **options: Any) -> Optimizer:
        """Build the optimizer over tensors; those with two dimensions are hidden matrices."""
        return self.build(Bag(tensors), **options)


class Head(nn.Module):
    """An attention head for optimizers that bound logits, whose largest logit is set by the test.

    The first parameter with at least two rows is the query and key projection, half of the rows each.
    """

    logit = 0.0

    def record_logits(self, enabled: bool) -> None:
        """Do nothing: the largest logit is set by the test."""

    def take_max_logits(self) -> Tensor:
        """Return ``logit``."""
        return torch.tensor([self.logit], dtype=torch.float64)

    def logit_rows(self) -> tuple[LogitRows, ...]:
        """Return the rows of queries and keys."""
        name, width = next((n, len(p) // 2) for n, p in self.named_parameters() if p.ndim and len(p) > 1)
        return (
            LogitRows(parameter=name, part="query", heads=1, width=width),
            LogitRows(parameter=name, part="key", heads=1, width=width, start=width),
        )


class Bag(Head):
    """A module whose parameters are the given tensors, each with a description."""

    def __init__(
        self, tensors: Iterable[Tensor], infos: Mapping[str, ParamInfo] | None = None, *, logit: float = 0.0
    ) -> None:
        super().__init__()
        self.logit = logit
        for index, tensor in enumerate(tensors):
            tensor = tensor.detach()
            self.register_parameter(f"p{index}", nn.Parameter(tensor, requires_grad=True))
        self.infos = dict(infos or {})

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe 2D tensors as matrices and 3D tensors as experts, unless ``infos`` has a description."""
        kinds = {2: "matrix", 3: "expert"}
        return {
            name: self.infos.get(name, ParamInfo(kind=kinds.get(p.ndim, "vector")))  # type: ignore[arg-type]
            for name, p in self.named_parameters()
        }

    def tensors(self) -> list[nn.Parameter]:
        """Return the parameters in order."""
        return list(self.parameters())


def cut_apart(subject: Subject, bag: Bag, **options: Any) -> Optimizer:
    """Build the optimizer over groups of one parameter each, with the options of its usual groups."""
    groups = [
        {
            key: [value[i]] if isinstance(value, list) and len(value) == len(group["params"]) else value
            for key, value in group.items()
        }
        for group in subject.build(bag, **options).param_groups
        for i in range(len(group["params"]))
    ]
    return subject.over_groups(groups, model=bag)


class Net(Head):
    """A small regression model with an embedding, a norm and linear layers."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.zero = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.zero.weight)
        self.targets: Tensor
        self.register_buffer("targets", torch.randn(11, width))

    def forward(self, ids: Tensor) -> Tensor:
        """Return the mean squared error of ids ``(batch,)`` against fixed targets, a scalar."""
        x = self.norm(self.embed(ids))
        y = self.down(torch.tanh(self.up(x))) + self.zero(x)
        return (y - self.targets[ids]).square().mean()


def seeded_net(seed: int = 0, dtype: torch.dtype = torch.float64) -> Net:
    """Return a model that depends on the seed only."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed formats stacks for devices
        return Net().to(dtype)


def gradients(tensors: Sequence[Tensor], steps: int, seed: int = 1, scale: float = 1.0) -> list[list[Tensor]]:
    """Return random gradients, one list for each step."""
    generator = torch.Generator().manual_seed(seed)
    return [
        [
            (torch.randn(t.shape, generator=generator, dtype=torch.float64) * scale).to(t.dtype)
            for t in tensors
        ]
        for _ in range(steps)
    ]


def take_step(optimizer: Any, *closure: Callable[[], Any]) -> Any:
    """Take a step and, if it is due, the curvature pass after it, with the same gradients."""
    value = optimizer.step(*closure)
    if getattr(optimizer, "curvature_due", False):
        pass_curvature(optimizer)
    return value


def pass_curvature(optimizer: Any, count: float = 1.0) -> None:
    """Run a curvature pass of ``count`` predictions whose gradients are those of the last step."""
    held = [(p, p.grad) for group in optimizer.param_groups for p in group["params"]]

    def sampled() -> float:
        for p, grad in held:
            p.grad = grad
        return count

    optimizer.curvature_step(sampled)
    sampled()


def drive(
    optimizer: Optimizer,
    tensors: Sequence[Tensor],
    steps: Sequence[Sequence[Tensor]],
    after: Callable[[int], None] | None = None,
) -> None:
    """Take one step for each list of gradients."""
    for index, grads in enumerate(steps):
        for tensor, grad in zip(tensors, grads, strict=True):
            tensor.grad = grad.clone()
        take_step(optimizer)
        if after is not None:
            after(index)


def train(model: Net, optimizer: Optimizer, steps: int, start: int = 0) -> list[float]:
    """Train on batches that depend on the step alone; return the losses on all ids before each step."""
    everything = torch.arange(11)
    losses = []
    for step in range(start, start + steps):
        losses.append(float(model(everything).detach()))
        ids = torch.randint(0, 11, (16,), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(ids).backward()
        take_step(optimizer)
    return losses


def displacement(
    subject: Subject,
    start: Sequence[Tensor],
    steps: Sequence[Sequence[Tensor]],
    *,
    logit: float = 0.0,
    **options: Any,
) -> list[Tensor]:
    """Return the displacement of each tensor after these gradients; ``logit`` is the largest logit."""
    bag = Bag([t.clone() for t in start], logit=logit)
    drive(subject.build(bag, **options), bag.tensors(), steps)
    return [p.detach() - t for p, t in zip(bag.tensors(), start, strict=True)]


def treated(subject: Subject, optimizer: Optimizer) -> list[Tensor]:
    """Return the parameters that the method itself treats: all, or those that are matrices."""
    return [
        p
        for group in optimizer.param_groups
        if not subject.traits.matrix or group["kind"] in MATRIX_KINDS
        for p in group["params"]
    ]


def error(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest expected value."""
    if actual.numel() == 0:
        return 0.0
    return float((actual - expected).abs().max()) / (float(expected.abs().max()) + 1e-300)
