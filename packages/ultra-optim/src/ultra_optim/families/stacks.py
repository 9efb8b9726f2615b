"""The base of matrix methods with state for each matrix, which compute matrices of one shape together."""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor

from ultra_optim.base import wide_dtype
from ultra_optim.contract.state_spec import COUNT, tensor_spec
from ultra_optim.contract.traits import MATRIX_KINDS
from ultra_optim.engine import sizes
from ultra_optim.engine.decay import decay_, decay_numbers
from ultra_optim.engine.threads import parallel_for
from ultra_optim.families.flat import FlatState, flat_views
from ultra_optim.families.matrices import ADAMW_STATE, MatrixOptimizer, matrices_in, matrix_layout


@attrs.frozen
class Stack:
    """Matrices of one shape, of one or more parameters.

    Attributes:
        step: number of this update.
        grad: ``(batch, rows, columns)``, contiguous and at least float32.
        state: state tensors with the same batch dimension; they are updated in place.
    """

    step: int
    grad: Tensor
    state: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.state[name]


@attrs.frozen
class Product:
    """A direction that is not computed as one matrix: left @ right, or left * right element by element."""

    left: Tensor
    right: Tensor
    by_element: bool = False

    def split(self, sizes: list[int]) -> list[Product]:
        """Split the batch."""
        pairs = zip(self.left.split(sizes), self.right.split(sizes), strict=True)
        return [Product(left, right, self.by_element) for left, right in pairs]

    def dense(self) -> Tensor:
        """Compute the direction as one tensor."""
        return self.left * self.right if self.by_element else product(self.left, self.right)

    def add_to_(self, weight: Tensor, factor: float) -> None:
        """weight <- weight + factor left right, in place."""
        if self.by_element:
            weight.addcmul_(self.left, self.right, value=factor)
        elif weight.shape[0] == 1:
            weight[0].addmm_(self.left[0], self.right[0], alpha=factor)
        else:
            weight.baddbmm_(self.left, self.right, alpha=factor)


def product(left: Tensor, right: Tensor) -> Tensor:
    """Return left @ right of batches; for a batch of one, a product of two matrices is faster."""
    single = left.shape[0] == 1 and right.ndim == 3 and right.shape[0] == 1  # right may have no batch
    return (left[0] @ right[0]).unsqueeze(0) if single else left @ right


class StackedOptimizer(MatrixOptimizer, FlatState):
    """A matrix method that computes its direction for all matrices of one shape at once.

    Each row block of a fused projection and each expert of a stacked weight is a matrix of its own. The
    states of the matrices of a parameter are concatenated in one flat tensor for each name.
    """

    dtypes: ClassVar[Mapping[str, torch.dtype]] = {}
    """Dtypes of state tensors that differ from the dtype of the parameter, widened to float32."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        cls.flat_names = cls.state_names - ADAMW_STATE - {"step"}
        super().__init_subclass__(**kwargs)

    @classmethod
    @abc.abstractmethod
    def matrix_state(cls, group: Mapping[str, Any], rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the state of one matrix."""

    @abc.abstractmethod
    def direction(self, group: Mapping[str, Any], stack: Stack) -> Tensor | Product | None:
        """Update the state of a stack; return d of p <- (1 - lr wd) p - lr d, or None for no step.

        Several threads may call this at the same time, each with a stack of its own.
        """

    def treats(self, group: Mapping[str, Any], rows: int, columns: int) -> bool:
        """Whether the method treats matrices of this shape; AdamW updates the others."""
        return True

    def init_state(self, group: Mapping[str, Any], name: str, state: Tensor) -> None:
        """Initialise new state of one parameter, ``(batch, ...)``, which is zero."""

    def split_blocks(self, group: Mapping[str, Any], matrix: Tensor) -> list[Tensor]:
        """Split ``(batch, rows, columns)`` into views that are treated as matrices of their own."""
        return [matrix]

    def update_matrices(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters, small matrices of one shape in one call."""
        layout = matrix_layout(group)
        mine = [p for p in params if self._treats(group, p, layout[p])]
        if len(mine) < len(params):
            treated = set(mine)
            self.update_others(group, [p for p in params if p not in treated])
        chunks = [
            (step, rows)
            for step, same in self.count(mine).items()
            for rows in _chunks([row for p in same for row in self._rows(group, p, layout[p])])
        ]
        update = functools.partial(self._update_chunk, group)
        parallel_for(update, chunks, lambda chunk: [row[0] for row in chunk[1]], sizes.STACKED_ALONE)

    def _treats(self, group: Mapping[str, Any], p: Tensor, layout: Any) -> bool:
        return all(self.treats(group, *m.shape[1:]) for m in matrices_in(p, *layout))

    def _rows(self, group: Mapping[str, Any], p: Tensor, layout: Any) -> list[tuple[Tensor, Tensor, Any]]:
        """Return (weight, gradient, state) of each matrix of a parameter, as views."""
        grad = p.grad
        assert grad is not None
        weights, grads = (
            [piece for m in matrices_in(t, *layout) for piece in self.split_blocks(group, m)]
            for t in (p, grad)
        )
        states = self._states(group, p, [w.shape for w in weights])
        return list(zip(weights, grads, states, strict=True))

    def _states(self, group: Mapping[str, Any], p: Tensor, shapes: Sequence[Any]) -> list[dict[str, Tensor]]:
        """Return the state of each matrix as views of the parameter's flat state tensors."""
        state_shapes = [self.matrix_state(group, rows, columns) for _, rows, columns in shapes]
        states: list[dict[str, Tensor]] = [{} for _ in shapes]
        for name in state_shapes[0]:
            fresh = name not in self.state[p]
            view_shapes = [
                (batch, *own[name]) for (batch, _, _), own in zip(shapes, state_shapes, strict=True)
            ]
            views = flat_views(self.state[p], name, p, view_shapes, self.dtypes.get(name))
            for state, view in zip(states, views, strict=True):
                state[name] = view
                if fresh:
                    self.init_state(group, name, view)
        return states

    def state_spec(
        self, group: Mapping[str, Any], parameter: Tensor, saved: Mapping[str, Any]
    ) -> dict[str, Tensor | int]:
        """Return the specification: flat state of matrices that the method treats, AdamW's of the others."""
        if group["kind"] not in MATRIX_KINDS or not self._treats(
            group, parameter, matrix_layout(group)[parameter]
        ):
            return super().state_spec({**group, "kind": "vector"}, parameter, saved)
        flat = self.flat_sizes(group, parameter)
        own = {name: tensor_spec(parameter, (size,), self.dtypes.get(name)) for name, size in flat.items()}
        return {"step": COUNT, **own}

    def flat_sizes(self, group: Mapping[str, Any], parameter: Tensor) -> dict[str, int]:
        """Return the number of elements of each flat state tensor."""
        totals: dict[str, int] = {}
        for matrix in matrices_in(parameter, *matrix_layout(group)[parameter]):
            for batch, rows, columns in (piece.shape for piece in self.split_blocks(group, matrix)):
                for name, shape in self.matrix_state(group, rows, columns).items():
                    totals[name] = totals.get(name, 0) + batch * math.prod(shape)
        return totals

    def _update_chunk(
        self, group: dict[str, Any], chunk: tuple[int, list[tuple[Tensor, Tensor, Any]]]
    ) -> None:
        step, rows = chunk
        weights, grads, states = zip(*rows, strict=True)
        wide = [g.to(wide_dtype(g)) for g in grads]
        if len(rows) == 1:
            stack = Stack(step, wide[0].contiguous(), states[0])
        else:
            joined = {name: torch.cat([s[name] for s in states]) for name in states[0]}
            stack = Stack(step, torch.cat(wide), joined)
        direction = self.direction(group, stack)
        batch_sizes = [w.shape[0] for w in weights]
        if len(rows) > 1:
            for name, value in stack.state.items():
                torch._foreach_copy_([s[name] for s in states], list(value.split(batch_sizes)))
        if direction is None:
            return
        parts = direction.split(batch_sizes) if len(rows) > 1 else [direction]
        for weight, d in zip(weights, parts, strict=True):
            descend_(weight, d, group)


def descend_(weight: Tensor, direction: Tensor | Product, group: dict[str, Any]) -> None:
    """Apply the weight decay of the group and take the step, in at least float32."""
    decay = decay_numbers(group)
    if decay["cautious"] and isinstance(direction, Product):
        direction = direction.dense()
    wide = weight.to(wide_dtype(weight))
    decay_([wide], [direction] if isinstance(direction, Tensor) else [], **decay)
    if isinstance(direction, Tensor):
        wide.add_(direction, alpha=-group["lr"])
    else:
        direction.add_to_(wide, -group["lr"])
    if wide is not weight:
        weight.copy_(wide)


def _chunks(rows: list[tuple[Tensor, Tensor, Any]]) -> Iterator[list[tuple[Tensor, Tensor, Any]]]:
    """Yield lists of rows of one shape, device and dtype, as many as one call takes."""
    groups: dict[Any, list[tuple[Tensor, Tensor, Any]]] = {}
    for row in rows:
        weight = row[0]
        groups.setdefault((weight.shape[1:], weight.device, weight.dtype, row[1].dtype), []).append(row)
    for same in groups.values():
        limit = sizes.STACK if same[0][0].device.type == "cpu" else sizes.SCRATCH
        chunk: list[tuple[Tensor, Tensor, Any]] = []
        filled = 0
        for row in same:
            if chunk and filled + row[0].numel() > limit:
                yield chunk
                chunk, filled = [], 0
            chunk.append(row)
            filled += row[0].numel()
        yield chunk
