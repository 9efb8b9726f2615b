"""The plain form of an element-wise update: one call with lists of whole tensors.

This is all that an update needs in order to run. The passes over slices (:mod:`ultra_optim.engine.passes`)
compute the same faster, and call :func:`apply` for every tensor that they cannot take.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ultra_optim.engine.threads import PLAIN_TYPES

Update: TypeAlias = Callable[..., "Sequence[Tensor] | None"]
"""A function that moves lists of parameters and of state tensors in place, each element independently.

It is called as ``update(params, grads, *state, **numbers)`` and returns None, or one tensor for each
parameter: a sum over its elements.
"""


class Pass(NamedTuple):
    """One pass of an update over its tensors.

    Attributes:
        update: the function.
        columns: parameters, gradients, and one list for each kind of state.
        numbers: keyword arguments of the update: step sizes, decay rates, flags.
    """

    update: Update
    columns: tuple[Sequence[Tensor], ...]
    numbers: Mapping[str, Any]

    @classmethod
    def of(cls, update: Update, params: Sequence[Tensor], *state: Sequence[Tensor], **numbers: Any) -> Pass:
        """Return a pass over parameters, all of which have gradients, and their state."""
        return cls(update, (params, [p.grad for p in params if p.grad is not None], *state), numbers)

    @classmethod
    def over(cls, update: Update, *columns: Sequence[Tensor], **numbers: Any) -> Pass:
        """Return a pass over columns, of which the second holds the gradients."""
        return cls(update, columns, numbers)


Passes: TypeAlias = Generator[Pass, list[Tensor], None]
"""The passes of an update that needs sums over whole tensors, such as norms, before it moves anything.

The generator yields one pass after the other and is sent the sums that each of them returned.
"""


def single(only: Pass) -> Passes:
    """Yield the only pass of an update."""
    yield only


def run_plain(passes: Passes) -> None:
    """Run the passes of an update one after the other, each on whole tensors."""
    sums: Any = None  # what starts a generator
    with contextlib.suppress(StopIteration):
        while True:
            sums = apply(passes.send(sums))


def apply(one: Pass) -> list[Tensor]:
    """Run a pass as one call of its update.

    Low-precision parameters and their gradients are widened to float32, and rounded once afterwards.

    Returns:
        what the update returns for each parameter; empty if it returns None.
    """
    kinds = [_memory(row) for row in zip(*one.columns, strict=True)]
    if len(set(kinds)) != 1:
        return _apply_by_kind(one, kinds)
    params, grads, *state = one.columns
    wide = [widen(p) for p in params]
    wide_grads = [g.to(w.dtype) for g, w in zip(grads, wide, strict=True)]
    sums = one.update(wide, wide_grads, *map(list, state), **one.numbers)
    for p, w in zip(params, wide, strict=True):
        if w is not p:
            p.copy_(w)
    return list(sums or ())


WIDE_DTYPES = frozenset({torch.float32, torch.float64})


def widen(tensor: Tensor) -> Tensor:
    """Return the tensor in at least float32; the tensor itself if it is that already."""
    return tensor if tensor.dtype in WIDE_DTYPES else tensor.to(wide_dtype(tensor))


def wide_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype of the tensor, or float32 if that is wider."""
    return torch.promote_types(tensor.dtype, torch.float32)


def _memory(row: Sequence[Tensor]) -> tuple[bool, bool]:
    """Return whether a row has tensors of torch's own types only, and whether all of them are contiguous."""
    return all(type(t) in PLAIN_TYPES for t in row), all(t.is_contiguous() for t in row)


def _apply_by_kind(one: Pass, kinds: Sequence[tuple[bool, bool]]) -> list[Tensor]:
    """Call the update once for each kind of memory.

    torch accepts no list that mixes DTensors with other tensors, and one tensor that is not contiguous would
    keep a whole list from its fast kernels.
    """
    found: dict[int, Tensor] = {}
    for kind in dict.fromkeys(kinds):
        members = [i for i, other in enumerate(kinds) if other == kind]
        columns = tuple([column[i] for i in members] for column in one.columns)
        found |= zip(members, apply(one._replace(columns=columns)), strict=False)
    return [found[i] for i in sorted(found)]
