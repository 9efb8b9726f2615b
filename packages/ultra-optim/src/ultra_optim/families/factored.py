"""Second moments kept as one row and one column of means, for Adafactor and CAME."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

import attrs
import torch
from torch import Tensor

from ultra_optim.base import wide_dtype
from ultra_optim.contract.state_spec import COUNT, COUNTERS, like
from ultra_optim.engine import sizes
from ultra_optim.engine.decay import decay_
from ultra_optim.engine.threads import on_cpu, parallel_for, parallel_map
from ultra_optim.families.flat import FlatState, flat_views
from ultra_optim.families.matrices import matrices_in, matrix_layout

Result = TypeVar("Result")

Kept = Literal["rows", "columns", "both"]


@attrs.frozen
class Matrices:
    """Equal matrices (batch, rows, columns) of one parameter, as views of what the names say."""

    weight: Tensor
    grad: Tensor
    state: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.state[name]

    def pieces(self) -> list[Matrices]:
        """Cut the batch, on a CPU into single matrices or as many as :data:`sizes.PIECE` allows."""
        batch, rows, columns = self.weight.shape
        count = max(1, sizes.PIECE // max(1, rows * columns))
        if count >= batch or not on_cpu(self.weight):
            return [self]
        parts = zip(*(t.split(count) for t in (self.weight, self.grad, *self.state.values())), strict=True)
        return [Matrices(w, g, dict(zip(self.state, kept, strict=True))) for w, g, *kept in parts]


class FactoredOptimizer(FlatState):
    """Keeps rows and columns of matrices, as ``shapes`` says, and whole tensors of vectors."""

    shapes: ClassVar[dict[str, Kept]]
    """What is kept for a matrix under each name."""

    def move(
        self,
        group: Mapping[str, Any],
        params: Sequence[Tensor],
        vectors: Callable[[list[Tensor]], None],
        matrices: Callable[[Matrices], None],
    ) -> None:
        """Let ``vectors`` move parameters of fewer than two dimensions, and ``matrices`` those of each other.

        Row blocks and experts that the group declares are matrices of their own. Other tensors of more than
        two dimensions are one matrix whose columns are all dimensions but the first. On a CPU one thread
        works on a matrix, but all on one of more than :data:`sizes.FACTORED_ALONE` elements, see :func:`over_rows`.
        """
        layout = matrix_layout(group)
        for p in params:
            self.state[p]  # first touched here, so that its order does not depend on the threads

        def work(some: list[Tensor]) -> None:
            if some[0].ndim < 2:
                vectors(some)
            else:
                self._move_matrices(some[0], *layout[some[0]], matrices)

        lists = [*vectors_alike(params), *([p] for p in params if p.ndim > 1)]
        parallel_for(work, lists, lambda some: some, sizes.FACTORED_ALONE)

    def _move_matrices(
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
            name: flat_views(self.state[p], name, p, [_kept(w, what) for w in weights])
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

    def state_like(
        self, group: Mapping[str, Any], parameter: Tensor, saved: Mapping[str, Any]
    ) -> dict[str, Tensor | int]:
        """Return what is kept: flat state of matrices, whole tensors of vectors, perhaps a count."""
        own = self.state_names - self.flat_names
        if parameter.ndim > 1:
            counts: dict[str, Tensor | int] = dict.fromkeys(own & COUNTERS, COUNT)
            return counts | self.flat_like(group, parameter)
        return {name: COUNT if name in COUNTERS else like(parameter) for name in own}

    def flat_sizes(self, group: Mapping[str, Any], parameter: Tensor) -> dict[str, int]:
        """Return how many elements are kept under each name."""
        if parameter.ndim < 2:
            return {}
        _, matrices = _matrices(parameter, *matrix_layout(group)[parameter])
        return {name: sum(math.prod(_kept(m, what)) for m in matrices) for name, what in self.shapes.items()}


def _matrices(tensor: Tensor, blocks: Sequence[int], expert_dim: int | None) -> tuple[Tensor, list[Tensor]]:
    """Return the tensor in two dimensions unless it stacks experts, and its matrices."""
    flat = tensor.flatten(1) if tensor.ndim > 2 and expert_dim is None else tensor
    return flat, matrices_in(flat, blocks, expert_dim)


def _kept(matrices: Tensor, what: Kept) -> list[int]:
    return [matrices.shape[d] for d in {"rows": (0, 1), "columns": (0, 2), "both": (0, 1, 2)}[what]]


def over_rows(work: Callable[..., Result], *tensors: Tensor) -> list[Result]:
    """Call ``work`` on the same rows of tensors (batch, rows, any), for all rows.

    Args:
        work: gets on a CPU :data:`sizes.PIECE` elements of the first tensor, or a row, and the rows of the others.
        *tensors: the tensors.

    Returns:
        what ``work`` returned, in order of the rows, whichever threads did it.
    """
    count = -(-tensors[0].numel() // sizes.PIECE)
    if count < 2 or not on_cpu(tensors[0]):
        return [work(*tensors)]
    height = -(-tensors[0].shape[1] // count)
    return parallel_map(
        lambda rows: work(*rows), list(zip(*(t.split(height, 1) for t in tensors), strict=True))
    )


def widen(tensor: Tensor) -> Tensor:
    """Return the tensor in at least float32."""
    return tensor.to(wide_dtype(tensor))


def descend_(weight: Tensor, left: Tensor, right: Tensor, *, decay: float, cautious: bool) -> None:
    """Decay a part of a weight and subtract left * right, in at least float32."""
    wide = widen(weight)
    decay_([wide], [left * right] if cautious else [], decay=decay, cautious=cautious)
    wide.addcmul_(left, right, value=-1.0)
    if wide is not weight:
        weight.copy_(wide)


def vectors_alike(params: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return the parameters of fewer than two dimensions, those of one device and dtype together."""
    alike: dict[Any, list[Tensor]] = {}
    for p in params:
        if p.ndim < 2:
            alike.setdefault((p.device, p.dtype), []).append(p)
    return list(alike.values())


def rms_of_each(tensors: list[Tensor]) -> Tensor:
    """Return the rms of each tensor, (how many,)."""
    sizes = [t.numel() ** -0.5 for t in tensors]
    norms = torch.stack(torch._foreach_norm(tensors))
    return norms.mul_(torch.tensor(sizes, dtype=norms.dtype, device=norms.device))


def descend_each_(weights: Sequence[Tensor], steps: list[Tensor], *, decay: float, cautious: bool) -> None:
    """Decay weights and subtract their steps, in at least float32."""
    wide = [widen(w) for w in weights]
    decay_(wide, steps, decay=decay, cautious=cautious)
    torch._foreach_sub_(wide, steps)
    for weight, w in zip(weights, wide, strict=True):
        if w is not weight:
            weight.copy_(w)


Sums = tuple[Tensor, Tensor]
"""Of some rows of (batch, rows, columns): the sums of each row, and of each column."""


def sums_of(squares: Tensor) -> Sums:
    """Return the sums over columns, (batch, rows), and over rows, (batch, columns)."""
    return squares.sum(-1), squares.sum(-2)


def square_sums(grad: Tensor) -> list[Sums]:
    """Return the sums of the squares of a gradient, for :func:`average_into`."""
    return over_rows(lambda g: sums_of(widen(g).square()), grad)


def average_into(
    sums: Sequence[Sums], row: Tensor, column: Tensor, weight: float, eps: float, factor: float = 1.0
) -> None:
    """row <- (1 - weight) row + weight (factor means + eps), and the columns likewise, in place."""
    rows, columns = torch.cat([r for r, _ in sums], -1), total([c for _, c in sums])
    row.lerp_(rows.mul_(factor / column.shape[-1]).add_(eps), weight)
    column.lerp_(columns.mul_(factor / row.shape[-1]).add_(eps), weight)


def total(terms: Sequence[Tensor]) -> Tensor:
    """Return the sum, whose first term it may overwrite; always in the same order."""
    return functools.reduce(Tensor.add_, terms)


def inverse_roots(row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Return a (batch, rows, 1) and b (batch, 1, columns), a b = 1 / sqrt(row column / mean(row))."""
    tiny = torch.finfo(row.dtype).tiny
    parts = row.split(sizes.ORDERED_SUM, -1) if row.shape[-1] > sizes.ORDERED_SUM else [row]
    mean = total([part.sum(-1, keepdim=True) for part in parts]).div_(row.shape[-1]).clamp_min_(tiny)
    a = row.div(mean).clamp_min_(tiny).rsqrt_().unsqueeze(-1)
    return a, column.clamp_min(tiny).rsqrt_().unsqueeze(-2)


def root_mean_square(grad: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return rms(grad a b) of each matrix, (batch, 1, 1)."""
    weights = b.mT.square()
    sums = over_rows(lambda g, left: left.mT @ (widen(g).square() @ weights), grad, a.square())
    return total(sums).div_(grad.shape[1] * grad.shape[2]).sqrt_()


def clip_to(rms: Tensor, limit: float) -> Tensor:
    """Return 1 / max(1, rms / limit)."""
    return rms.div(limit).clamp_min_(1.0).reciprocal_()
