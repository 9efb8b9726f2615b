"""Second moments kept as one row and one column of means, for Adafactor and CAME."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import attrs
import torch
from torch import Tensor

from ultra_optim.base import SLICE, wide_dtype
from ultra_optim.decay import decay_
from ultra_optim.flat import FlatState, flat_views
from ultra_optim.kept import COUNT, COUNTERS, like
from ultra_optim.matrices import matrices_in, matrix_layout

Kept = Literal["rows", "columns", "both"]


@attrs.frozen
class Matrices:
    """Equal matrices (batch, rows, columns) of one parameter, as views of what the names say."""

    weight: Tensor
    grad: Tensor
    state: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.state[name]


def matrices_of(
    group: Mapping[str, Any],
    params: Sequence[Tensor],
    state: Mapping[Tensor, dict[str, Any]],
    shapes: Mapping[str, Kept],
) -> Iterator[Matrices]:
    """Yield the matrices of parameters of two dimensions or more, with their state, zero at first.

    Row blocks and experts that the group declares are matrices of their own. Other tensors of more than two
    dimensions are one matrix whose columns are all dimensions but the first.

    Args:
        group: where ``row_blocks`` and ``expert_dim`` stand, if anywhere.
        params: parameters of that group.
        state: the optimizer's; a name holds one flat tensor for all matrices of a parameter.
        shapes: for each name what is kept for a matrix.
    """
    layout = matrix_layout(group)
    for p in params:
        assert p.grad is not None
        flat, weights = _matrices(p, *layout[p])
        _, grads = _matrices(p.grad, *layout[p])
        kept = {
            name: flat_views(state[p], name, p, [_kept(w, what) for w in weights])
            for name, what in shapes.items()
        }
        for index, (w, g) in enumerate(zip(weights, grads, strict=True)):
            yield Matrices(w, g, {name: views[index] for name, views in kept.items()})
        if flat.data_ptr() != p.data_ptr():  # flattening had to copy
            p.copy_(flat.view_as(p))


class FactoredOptimizer(FlatState):
    """Keeps rows and columns of matrices, as ``shapes`` says, and whole tensors of vectors."""

    shapes: ClassVar[dict[str, Kept]]
    """What is kept for a matrix under each name."""

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


def chunks(*tensors: Tensor) -> Iterator[tuple[slice, list[Tensor]]]:
    """Yield slices of the rows of equal (batch, rows, columns) tensors, small enough for a CPU's cache."""
    rows = tensors[0].shape[1]
    parts = 1 if tensors[0].device.type != "cpu" else -(-tensors[0].numel() // SLICE)
    if parts == 1:
        yield slice(None), list(tensors)
        return
    height = -(-rows // parts)
    for start in range(0, rows, height):
        part = slice(start, min(start + height, rows))
        yield part, [t[:, part] for t in tensors]


def widen(tensor: Tensor) -> Tensor:
    """Return the tensor in at least float32."""
    return tensor.to(wide_dtype(tensor))


def descend_(weight: Tensor, left: Tensor, right: Tensor, *, shrink: float, cautious: bool) -> None:
    """Decay a part of a weight and subtract left * right, in at least float32."""
    wide = widen(weight)
    decay_([wide], [left * right] if cautious else [], shrink=shrink, cautious=cautious)
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


def descend_each_(weights: Sequence[Tensor], steps: list[Tensor], *, shrink: float, cautious: bool) -> None:
    """Decay weights and subtract their steps, in at least float32."""
    wide = [widen(w) for w in weights]
    decay_(wide, steps, shrink=shrink, cautious=cautious)
    torch._foreach_sub_(wide, steps)
    for weight, w in zip(weights, wide, strict=True):
        if w is not weight:
            weight.copy_(w)


class Means:
    """Row and column means of the squares of (batch, rows, columns) tensors that arrive in chunks."""

    def __init__(self, like: Tensor) -> None:
        batch, rows, columns = like.shape
        self.rows = torch.empty(batch, rows, dtype=wide_dtype(like), device=like.device)
        self.columns = torch.zeros(batch, columns, dtype=wide_dtype(like), device=like.device)

    def add(self, part: slice, squares: Tensor) -> None:
        """Take in the squares of these rows."""
        self.rows[:, part] = squares.sum(-1)
        self.columns += squares.sum(-2)

    def average_into(
        self, row: Tensor, column: Tensor, weight: float, eps: float, factor: float = 1.0
    ) -> None:
        """row <- (1 - weight) row + weight (factor means + eps), and the columns likewise, in place."""
        rows, columns = self.rows.shape[1], self.columns.shape[1]
        row.lerp_(self.rows.mul_(factor / columns).add_(eps), weight)
        column.lerp_(self.columns.mul_(factor / rows).add_(eps), weight)


def mean_squares(grad: Tensor) -> Means:
    """Return the means of the squares of a gradient."""
    means = Means(grad)
    for part, (g,) in chunks(grad):
        means.add(part, widen(g).square())
    return means


def inverse_roots(row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Return a (batch, rows, 1) and b (batch, 1, columns), a b = 1 / sqrt(row column / mean(row))."""
    tiny = torch.finfo(row.dtype).tiny
    mean = row.mean(-1, keepdim=True).clamp_min_(tiny)
    a = (row / mean).clamp_min_(tiny).rsqrt_().unsqueeze(-1)
    return a, column.clamp_min(tiny).rsqrt_().unsqueeze(-2)


def root_mean_square(grad: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return rms(grad a b) of each matrix, (batch, 1, 1)."""
    total = torch.zeros(grad.shape[0], 1, 1, dtype=a.dtype, device=a.device)
    weights = b.mT.square()
    for part, (g,) in chunks(grad):
        total += (widen(g).square() @ weights).mul_(a[:, part].square()).sum(1, keepdim=True)
    return total.div_(grad.shape[1] * grad.shape[2]).sqrt_()


def clip_to(rms: Tensor, limit: float) -> Tensor:
    """Return 1 / max(1, rms / limit)."""
    return rms.div(limit).clamp_min_(1.0).reciprocal_()
