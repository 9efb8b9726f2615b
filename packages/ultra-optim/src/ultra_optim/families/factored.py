"""Factored second moments, one row and one column of means, for Adafactor and CAME."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

import attrs
import torch
from torch import Tensor

from ultra_optim.contract.state_spec import COUNT, COUNTERS, tensor_spec
from ultra_optim.engine import sizes
from ultra_optim.engine.decay import decay_
from ultra_optim.engine.plain import widen
from ultra_optim.engine.threads import on_cpu, parallel_for, parallel_map
from ultra_optim.families.flat import FlatState, flat_views
from ultra_optim.families.matrices import matrices_in, matrix_layout

Result = TypeVar("Result")

StateAxes = Literal["rows", "columns", "both"]
"""The axes of a matrix along which a state tensor extends."""


@attrs.frozen
class Matrices:
    """Matrices ``(batch, rows, columns)`` of one parameter, as views of its weight, gradient and state."""

    weight: Tensor
    grad: Tensor
    state: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.state[name]

    def pieces(self) -> list[Matrices]:
        """Split the batch, on a CPU into single matrices or as many as :data:`sizes.PIECE` allows."""
        batch, rows, columns = self.weight.shape
        count = max(1, sizes.PIECE // max(1, rows * columns))
        if count >= batch or not on_cpu(self.weight):
            return [self]
        parts = zip(*(t.split(count) for t in (self.weight, self.grad, *self.state.values())), strict=True)
        return [Matrices(w, g, dict(zip(self.state, state, strict=True))) for w, g, *state in parts]


class FactoredOptimizer(FlatState):
    """An optimizer with factored state for matrices and whole state tensors for vectors."""

    shapes: ClassVar[dict[str, StateAxes]]
    """The axes of each state tensor of a matrix."""

    def update_each(
        self,
        group: Mapping[str, Any],
        params: Sequence[Tensor],
        vectors: Callable[[list[Tensor]], None],
        matrices: Callable[[Matrices], None],
    ) -> None:
        """Update vectors and scalars by ``vectors``, matrices of all other parameters by ``matrices``.

        Row blocks and experts that the group declares are matrices of their own. Other tensors of more than
        two dimensions are one matrix whose columns are all dimensions but the first. On a CPU one thread
        works on a matrix, and all threads on one of more than :data:`sizes.FACTORED_ALONE` elements, see
        :func:`map_rows`.
        """
        layout = matrix_layout(group)
        for p in params:
            self.state[p]  # created here, so that the order of the state does not depend on threads

        def work(some: list[Tensor]) -> None:
            if some[0].ndim < 2:
                vectors(some)
            else:
                self._update_matrices(some[0], *layout[some[0]], matrices)

        lists = [*group_vectors(params), *([p] for p in params if p.ndim > 1)]
        parallel_for(work, lists, lambda some: some, sizes.FACTORED_ALONE)

    def _update_matrices(
        self,
        p: Tensor,
        blocks: Sequence[int],
        expert_dim: int | None,
        work: Callable[[Matrices], None],
    ) -> None:
        assert p.grad is not None
        flat, weights = _matrices(p, blocks, expert_dim)
        _, grads = _matrices(p.grad, blocks, expert_dim)
        state = {
            name: flat_views(self.state[p], name, p, [_state_shape(w, what) for w in weights])
            for name, what in self.shapes.items()
        }
        found = [
            piece
            for index, (w, g) in enumerate(zip(weights, grads, strict=True))
            for piece in Matrices(w, g, {name: views[index] for name, views in state.items()}).pieces()
        ]
        parallel_for(work, found, lambda piece: [piece.weight], sizes.FACTORED_ALONE)
        if flat.data_ptr() != p.data_ptr():  # flattening had to copy
            p.copy_(flat.view_as(p))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        cls.flat_names = frozenset(cls.shapes)
        super().__init_subclass__(**kwargs)

    def state_spec(
        self, group: Mapping[str, Any], parameter: Tensor, saved: Mapping[str, Any]
    ) -> dict[str, Tensor | int]:
        """Return the specification: flat state of matrices, whole tensors of vectors, perhaps a count."""
        own = self.state_names - self.flat_names
        if parameter.ndim > 1:
            counts: dict[str, Tensor | int] = dict.fromkeys(own & COUNTERS, COUNT)
            return counts | self.flat_spec(group, parameter)
        return {name: COUNT if name in COUNTERS else tensor_spec(parameter) for name in own}

    def flat_sizes(self, group: Mapping[str, Any], parameter: Tensor) -> dict[str, int]:
        """Return the number of elements of each flat state tensor."""
        if parameter.ndim < 2:
            return {}
        _, matrices = _matrices(parameter, *matrix_layout(group)[parameter])
        return {
            name: sum(math.prod(_state_shape(m, what)) for m in matrices)
            for name, what in self.shapes.items()
        }


def _matrices(tensor: Tensor, blocks: Sequence[int], expert_dim: int | None) -> tuple[Tensor, list[Tensor]]:
    """Return the tensor in two dimensions, unless it stacks experts, and its matrices."""
    flat = tensor.flatten(1) if tensor.ndim > 2 and expert_dim is None else tensor
    return flat, matrices_in(flat, blocks, expert_dim)


def _state_shape(matrices: Tensor, what: StateAxes) -> list[int]:
    return [matrices.shape[d] for d in {"rows": (0, 1), "columns": (0, 2), "both": (0, 1, 2)}[what]]


def map_rows(work: Callable[..., Result], *tensors: Tensor) -> list[Result]:
    """Call ``work`` on slices of rows of tensors ``(batch, rows, any)``, on a CPU in parallel.

    Args:
        work: a function of the slices; on a CPU those of the first tensor have :data:`sizes.PIECE` elements,
            or one row.
        *tensors: the tensors.

    Returns:
        the results in the order of the rows.
    """
    count = -(-tensors[0].numel() // sizes.PIECE)
    if count < 2 or not on_cpu(tensors[0]):
        return [work(*tensors)]
    height = -(-tensors[0].shape[1] // count)
    return parallel_map(
        lambda rows: work(*rows), list(zip(*(t.split(height, 1) for t in tensors), strict=True))
    )


def descend_(weight: Tensor, left: Tensor, right: Tensor, *, decay: float, cautious: bool) -> None:
    """Apply weight decay to some rows of a weight and subtract left * right, in at least float32."""
    wide = widen(weight)
    decay_([wide], [left * right] if cautious else [], decay=decay, cautious=cautious)
    wide.addcmul_(left, right, value=-1.0)
    if wide is not weight:
        weight.copy_(wide)


def group_vectors(params: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return the vectors and scalars among the parameters, grouped by device and dtype."""
    alike: dict[Any, list[Tensor]] = {}
    for p in params:
        if p.ndim < 2:
            alike.setdefault((p.device, p.dtype), []).append(p)
    return list(alike.values())


def rms_of_each(tensors: list[Tensor]) -> Tensor:
    """Return the root mean square of each tensor, ``(tensors,)``."""
    scales = [t.numel() ** -0.5 for t in tensors]
    norms = torch.stack(torch._foreach_norm(tensors))
    return norms.mul_(torch.tensor(scales, dtype=norms.dtype, device=norms.device))


def descend_each_(weights: Sequence[Tensor], steps: list[Tensor], *, decay: float, cautious: bool) -> None:
    """Apply weight decay to weights and subtract their steps, in at least float32."""
    wide = [widen(w) for w in weights]
    decay_(wide, steps, decay=decay, cautious=cautious)
    torch._foreach_sub_(wide, steps)
    for weight, w in zip(weights, wide, strict=True):
        if w is not weight:
            weight.copy_(w)


Sums = tuple[Tensor, Tensor]
"""Sums of some rows of ``(batch, rows, columns)``: over columns and over rows."""


def sums_of(squares: Tensor) -> Sums:
    """Return the sums over columns, ``(batch, rows)``, and over rows, ``(batch, columns)``."""
    return squares.sum(-1), squares.sum(-2)


def square_sums(grad: Tensor) -> list[Sums]:
    """Return the sums of the squares of a gradient, for :func:`update_averages_`."""
    return map_rows(lambda g: sums_of(widen(g).square()), grad)


def update_averages_(
    sums: Sequence[Sums], row: Tensor, column: Tensor, weight: float, eps: float, factor: float = 1.0
) -> None:
    """row <- (1 - weight) row + weight (factor means + eps), and the columns likewise, in place."""
    rows, columns = torch.cat([r for r, _ in sums], -1), ordered_sum([c for _, c in sums])
    row.lerp_(rows.mul_(factor / column.shape[-1]).add_(eps), weight)
    column.lerp_(columns.mul_(factor / row.shape[-1]).add_(eps), weight)


def ordered_sum(terms: Sequence[Tensor]) -> Tensor:
    """Return the sum of the terms in this order; the first term is overwritten."""
    return functools.reduce(Tensor.add_, terms)


def inverse_roots(row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Return a ``(batch, rows, 1)`` and b ``(batch, 1, columns)``, a b = 1 / sqrt(row column / mean(row))."""
    tiny = torch.finfo(row.dtype).tiny
    parts = row.split(sizes.ORDERED_SUM, -1) if row.shape[-1] > sizes.ORDERED_SUM else [row]
    mean = ordered_sum([part.sum(-1, keepdim=True) for part in parts]).div_(row.shape[-1]).clamp_min_(tiny)
    a = row.div(mean).clamp_min_(tiny).rsqrt_().unsqueeze(-1)
    return a, column.clamp_min(tiny).rsqrt_().unsqueeze(-2)


def root_mean_square(grad: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the root mean square of grad a b for each matrix, ``(batch, 1, 1)``."""
    weights = b.mT.square()
    sums = map_rows(lambda g, left: left.mT @ (widen(g).square() @ weights), grad, a.square())
    return ordered_sum(sums).div_(grad.shape[1] * grad.shape[2]).sqrt_()


def clip_factor(rms: Tensor, limit: float) -> Tensor:
    """Return 1 / max(1, rms / limit)."""
    return rms.div(limit).clamp_min_(1.0).reciprocal_()
