"""Element-wise updates by ``torch.compile``: code that is made once for all shapes and learning rates."""

from __future__ import annotations

import functools
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ultra_optim.engine.compilation import split_numbers

Row: TypeAlias = Sequence[Tensor]
_log = logging.getLogger(__name__)

ROWS_PER_CALL = 4
"""A call takes tenths of a millisecond of Python; code for more rows takes longer to generate."""


class CallSignature(NamedTuple):
    """The properties by which rows are grouped into calls of compiled code.

    Attributes:
        update: the marked function.
        names: names of the numbers that may differ in every call.
        fixed: flags, which are part of the code.
        tensors: device and dtype of each column, and whether it has one element.
    """

    update: Callable[..., Any]
    names: tuple[str, ...]
    fixed: tuple[tuple[str, Any], ...]
    tensors: tuple[tuple[torch.device, torch.dtype, bool], ...]


def call_all(
    updates: Sequence[Callable[..., Any]], rows: Sequence[Row], numbers: Sequence[Mapping[str, Any]]
) -> list[Tensor | None]:
    """Call compiled updates; rows of one signature share calls.

    Numbers are passed as a tensor on the device of the rows, so that new values need no new code; flags are
    part of the code. Low-precision parameters are widened inside.

    Args:
        updates: the marked update of each row.
        rows: each a parameter, its gradient and state on one device, flat or of one element.
        numbers: keyword arguments of each update.

    Returns:
        what each update returns for its row.
    """
    alike: dict[CallSignature, list[int]] = {}
    for i, (update, row, own) in enumerate(zip(updates, rows, numbers, strict=True)):
        changing, fixed = split_numbers(own)
        tensors = tuple((t.device, t.dtype, t.numel() == 1) for t in row)
        alike.setdefault(CallSignature(update, tuple(changing), fixed, tensors), []).append(i)
    results: list[Tensor | None] = [None] * len(rows)
    for signature, members in alike.items():
        for start in range(0, len(members), ROWS_PER_CALL):
            some = members[start : start + ROWS_PER_CALL]
            found = _call(signature, [rows[i] for i in some], [numbers[i] for i in some])
            for i, result in zip(some, found, strict=False):
                results[i] = result
    return results


def _call(
    signature: CallSignature, rows: Sequence[Row], numbers: Sequence[Mapping[str, Any]]
) -> list[Tensor | None]:
    first = rows[0][0]
    wide = torch.promote_types(first.dtype, torch.float32)
    values = [[float(each[name]) for name in signature.names] for each in numbers]
    values += values[-1:] * (ROWS_PER_CALL - len(rows))
    padding = [_like(rows[0], 128) for _ in range(ROWS_PER_CALL - len(rows))]
    # One tensor may belong to several rows; dynamo would compile again for one object in two places.
    tensors = [t.view(()) if t.numel() == 1 else t for row in [*rows, *padding] for t in row]
    return _compiled(signature)(torch.tensor(values, dtype=wide, device=first.device), *tensors)


@functools.cache
def _compiled(signature: CallSignature) -> Callable[..., list[Tensor | None]]:
    columns = len(signature.tensors)

    def several(values: Tensor, *tensors: Tensor) -> list[Tensor | None]:
        parts: list[Tensor | None] = []
        for i, changing in enumerate(values.unbind()):
            p, g, *state = tensors[i * columns : (i + 1) * columns]
            wide, wide_grad = p.to(values.dtype), g.to(values.dtype)
            named = dict(zip(signature.names, changing.unbind(), strict=True))
            arguments = {**named, **dict(signature.fixed)}
            result = signature.update([wide], [wide_grad], *([s] for s in state), **arguments)
            if p.dtype != wide.dtype:
                p.copy_(wide)
            parts += result or [None]
        return parts

    # Code of its own, or dynamo would count the functions made here as recompilations of one.
    several.__code__ = several.__code__.replace(co_name=signature.update.__name__)
    fast = torch.compile(several, fullgraph=True, dynamic=True)
    start = time.perf_counter()
    device, dtype, _ = signature.tensors[0]
    row = [torch.ones(() if scalar else 128, dtype=t, device=d) for d, t, scalar in signature.tensors]
    wide = torch.promote_types(dtype, torch.float32)
    values = torch.ones(ROWS_PER_CALL, len(signature.names), dtype=wide, device=device)
    fast(values, *itertools.chain.from_iterable(_like(row, 64 * (2 + i)) for i in range(ROWS_PER_CALL)))
    _log.info("compiled %s in %.1f s", signature.update.__name__, time.perf_counter() - start)
    return fast


def _like(row: Row, length: int) -> list[Tensor]:
    """Return a row like this one of another length: dynamo would take equal lengths to stay equal."""
    return [t.new_ones(() if t.numel() == 1 else length) for t in row]
