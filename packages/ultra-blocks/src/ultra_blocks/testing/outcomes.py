"""What a plugin computes with given options, for comparisons between options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import BlockCase, Case, FFNCase, NormCase, PositionCase, gradients, noise
from ultra_blocks.testing.draws import relative_error
from ultra_blocks.testing.parameters import described
from ultra_blocks.testing.positions import scores
from ultra_blocks.testing.seeding import seeded

SAME = 1e-9
"""The largest relative difference of two outcomes in fp64 that are the same."""

LENGTH = 300
"""Tokens of the long row: more than a window, a block or a table has that some test would choose."""

SHORT = 7
"""Tokens of the short row."""

Named = Iterator[tuple[str, Tensor]]


@attrs.define(eq=False)
class Outcome:
    """What a plugin computes: its parameters, and tensors that are computed when they are asked for.

    Attributes:
        module: the plugin.
        form: shapes and descriptions of its parameters and buffers, by what they are.
        limit: the largest relative difference of two outcomes that are the same.
        known: tensors that have been computed, with what they are, in the order of their cost.
        unknown: the others.
    """

    module: nn.Module
    form: dict[str, Any]
    limit: float
    known: list[tuple[str, Tensor]]
    unknown: Named

    def __iter__(self) -> Named:
        yield from self.known
        for item in self.unknown:
            self.known.append(item)
            yield item

    def difference(self, other: Outcome) -> str:
        """Return what differs first; empty if nothing does."""
        if changed := [what for what, _ in self.form.items() ^ other.form.items()]:
            return min(changed)
        for (what, mine), (_, its) in zip(self, other, strict=True):
            if mine.shape != its.shape:
                return f"the shape of {what}"
            if (error := relative_error(mine, its)) > self.limit:
                return f"{what} by {error:.1e}"
        return ""


class Observer:
    """Builds a plugin with several options, and with the same weights where all shapes agree."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.weights: dict[str, dict[str, nn.Parameter]] = {}
        self.outcomes: dict[str, Outcome] = {}

    def outcome(self, options: Mapping[str, Any]) -> Outcome:
        """Return the outcome with options that override those of the case."""
        key = repr(sorted(options.items()))
        if key not in self.outcomes:
            self.outcomes[key] = self._observe(options)
        return self.outcomes[key]

    def _observe(self, options: Mapping[str, Any]) -> Outcome:
        module = self.case.build(**options)
        parameters = dict(module.named_parameters())
        state = {**parameters, **dict(module.named_buffers())}
        initial = _flat(list(state.values()))
        form: dict[str, Any] = {f"the shape of {name}": tensor.shape for name, tensor in state.items()}
        with torch.no_grad():
            for name, shared in self.weights.setdefault(repr(form), parameters).items():
                parameters[name].copy_(shared)
        form |= {f"the description of {name}": info for name, info in described(module).items()}
        arguments = self.case.arguments(**options)
        observe = _OBSERVERS[type(self.case)]
        tensors = observe(self.case, module, arguments)
        limit = self.case.allows(SAME)
        return Outcome(module, form, limit, [("an initial weight", initial)], tensors)


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([torch.ones(1).double(), *(t.detach().flatten().double() for t in tensors)])


def _parts(y: Any) -> tuple[Tensor, dict[str, Tensor]]:
    return y if isinstance(y, tuple) else (y, {})


def long_row(case: Case, width: int) -> Tensor:
    """Return an input of one long row, or of the longest that a block accepts."""
    return noise(1, case.length(LENGTH), width)


def long_gradients(module: nn.Module, row: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the output of a long row, and the gradients of the input and all parameters."""
    x = row.clone().requires_grad_()
    y, _ = _parts(module(x, None))
    return y, gradients(y, noise(*y.shape, seed=1), [x, *module.parameters()])


def answer(case: Case, module: Any, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return the output of a short row, or the scores or embeddings of a position code."""
    if isinstance(case, PositionCase):
        layout, q = Layout.full(1, SHORT), noise(1, 2, SHORT, case.hidden_size // 2, dtype=dtype)
        return module.embed(layout) if module.kind == "embed" else scores(module, q, q, layout)
    x = noise(1, SHORT, case.hidden_size, dtype=dtype)
    return _parts(module(x) if isinstance(case, NormCase) else module(x, None))[0]


def _observe_branch(case: Case, module: Any, arguments: Mapping[str, Any]) -> Named:
    """Yield the outputs of a block or an FFN, then what training and decoding give."""
    width = arguments.get("hidden_size", case.hidden_size)
    row = long_row(case, width)
    yield "the output of a long row", _parts(module(row, None))[0]
    length = min(40, row.shape[1])
    x = torch.cat([noise(1, length, width), 10 * noise(1, length, width, seed=2)])
    mask = torch.arange(length) < torch.tensor([[length], [length * 3 // 4]])
    documents = (torch.arange(length) >= length // 3).long().expand(2, -1)
    layout = Layout.from_mask(mask, documents if case.packs else None)
    yield "the output of padded rows", _parts(module(x, layout))[0]
    if arguments.get("causal") and isinstance(case, BlockCase) and case.traits.recurrent_step:
        yield "a decoded output", _decoded(module, x)
    yield "a gradient", _flat(long_gradients(module, row)[1])
    with seeded(0):
        y, losses = _parts(module.train()(x, layout))
        torch.stack([y.sum(), *losses.values()]).sum().backward()
    if callable(after_step := getattr(module, "after_step", None)):
        after_step(True)
    module.eval().zero_grad()
    yield "the output in training", y
    yield "a loss", _flat([losses[name] for name in sorted(losses)])
    yield "a buffer after a training step", _flat(list(module.buffers()))


def _decoded(module: Any, x: Tensor) -> Tensor:
    state, steps = module.init_state(2), []
    for t in range(8):
        y_t, state = module.step(x[:, t], state)
        steps.append(y_t)
    return torch.stack(steps)


def _observe_norm(case: Case, module: nn.Module, arguments: Mapping[str, Any]) -> Named:
    """Yield the outputs of tokens of several sizes, and gradients."""
    x = (
        noise(3, 5, arguments.get("hidden_size", case.hidden_size))
        * torch.tensor([0.1, 1.0, 10.0]).double()[:, None, None]
    )
    y = module(x.requires_grad_())
    yield "the outputs", y.detach()
    yield "gradients", _flat(gradients(y, noise(*y.shape, seed=1), [x, *module.parameters()]))


def _observe_position(case: Case, module: Any, arguments: Mapping[str, Any]) -> Named:
    """Yield the scores or embeddings of a long row."""
    sizes = {**case.supplied(), **arguments}
    layout = Layout.full(1, LENGTH)
    q, k = (noise(1, sizes["num_heads"], LENGTH, sizes["head_dim"], seed=seed) for seed in (1, 2))
    if module.kind == "embed":
        yield "an embedding", module.embed(layout)
    else:
        yield "a score", scores(module, q, k, layout)


_OBSERVERS: dict[type[Case], Callable[[Case, Any, Mapping[str, Any]], Named]] = {
    BlockCase: _observe_branch,
    FFNCase: _observe_branch,
    NormCase: _observe_norm,
    PositionCase: _observe_position,
}
