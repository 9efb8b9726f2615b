"""The base of optimizers that are not thin wrappers: the walk over groups, wide state, cache-sized slices."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_optim.checks import Checked
from ultra_optim.traits import OptimizerTraits

SLICE = 1 << 19
"""Elements per slice on a CPU: a few such tensors fit a last-level cache, and calls are few enough."""

BATCH = 1 << 24
"""Elements of scratch space that a step may take at a time."""

Update = Callable[..., None]


class Optimizer(Checked, torch.optim.Optimizer, abc.ABC):
    """A ``torch.optim.Optimizer`` whose subclasses write :meth:`update` for the parameters of one group.

    ``step()`` takes a closure, skips parameters without gradient, refuses sparse gradients before it
    changes anything, and leaves gradients as they were. State is tensors of at least float32 and plain
    numbers. Low-precision parameters are updated in float32 and rounded once; updates below their
    resolution are lost, so keep weights in float32 and let autocast lower the precision.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient.

        Args:
            closure: evaluates the loss and its gradients first.

        Returns:
            what the closure returned, else None.

        Raises:
            ValueError: a gradient is sparse; nothing was changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.prepare()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None and p.numel() > 0]
            if params:
                self.update(group, params)
        return loss

    @abc.abstractmethod
    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Move these parameters of the group, all of which have a gradient."""

    def zeros(self, params: Sequence[Tensor], name: str) -> list[Tensor]:
        """Return a state tensor of every parameter, zero and at least float32 at first."""
        for p in params:
            if name not in self.state[p]:
                self.state[p][name] = torch.zeros_like(p, dtype=wide_dtype(p))
        return [self.state[p][name] for p in params]

    def count(self, params: Sequence[Tensor], name: str = "step") -> dict[int, list[Tensor]]:
        """Count this update of every parameter; return the parameters by their count, which starts at 1."""
        by_count: dict[int, list[Tensor]] = {}
        for p in params:
            self.state[p][name] = self.state[p].get(name, 0) + 1
            by_count.setdefault(self.state[p][name], []).append(p)
        return by_count


def wide_dtype(tensor: Tensor) -> torch.dtype:
    """Return the tensor's dtype, or float32 if that is wider."""
    return torch.promote_types(tensor.dtype, torch.float32)


def elementwise(update: Update, params: Sequence[Tensor], *state: Sequence[Tensor], **numbers: Any) -> None:
    """Call ``update(params, grads, *state, **numbers)`` on lists of tensors that together cover everything.

    ``update`` writes to parameters and state in place with ``torch._foreach_*`` and treats every element
    alone. On an accelerator it is called once with whole tensors; on a CPU with slices that stay in the
    cache, so that a chain of operations reads each tensor from memory once. Low-precision parameters and
    their gradients arrive widened and are rounded back after. State of one element, a number per tensor,
    comes with every slice of its parameter.
    """
    grads = [p.grad for p in params if p.grad is not None]
    for ps, gs, *rest in _portions(params, grads, *state):
        wide = [p.to(wide_dtype(p)) for p in ps]
        update(wide, [g.to(w.dtype) for g, w in zip(gs, wide, strict=True)], *rest, **numbers)
        for p, w in zip(ps, wide, strict=True):
            if w is not p:
                p.copy_(w)


def _portions(*columns: Sequence[Tensor]) -> Iterator[Sequence[list[Tensor]]]:
    whole: list[tuple[Tensor, ...]] = []
    small: list[tuple[Tensor, ...]] = []
    filled = 0
    for row in zip(*columns, strict=True):
        if not all(_sliceable(t) for t in row):
            whole.append(row)
        elif row[0].numel() > SLICE:
            count = -(-row[0].numel() // SLICE)
            flat = [t.view(-1).split(SLICE) if t.numel() > 1 else [t] * count for t in row]
            yield from ([[piece] for piece in pieces] for pieces in zip(*flat, strict=True))
        else:
            small.append(row)
            filled += row[0].numel()
            if filled > SLICE:
                yield _columns(small)
                small, filled = [], 0
    for rows in (small, whole):
        if rows:
            yield _columns(rows)


def _sliceable(tensor: Tensor) -> bool:
    plain = type(tensor) in (Tensor, torch.nn.Parameter)  # not a DTensor or another subclass
    return plain and tensor.device.type == "cpu" and tensor.is_contiguous()


def _columns(rows: list[tuple[Tensor, ...]]) -> list[list[Tensor]]:
    return [list(column) for column in zip(*rows, strict=True)]


def piece_size(tensor: Tensor) -> int:
    """Return the elements that work in pieces takes at a time: those that a CPU's cache holds, or many."""
    return SLICE if tensor.device.type == "cpu" else BATCH


def batches(params: Sequence[Tensor], *, cached: bool = False) -> Iterator[list[Tensor]]:
    """Yield the parameters in order, in lists of at most :data:`BATCH` elements or of one parameter.

    Args:
        params: the parameters.
        cached: on a CPU at most :data:`SLICE` elements, so that scratch space of a list stays in the cache.
    """
    limit = piece_size(params[0]) if cached and params else BATCH
    batch: list[Tensor] = []
    filled = 0
    for p in params:
        if batch and filled + p.numel() > limit:
            yield batch
            batch, filled = [], 0
        batch.append(p)
        filled += p.numel()
    if batch:
        yield batch
