"""What an optimizer keeps for a parameter, and whether a saved state is that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ultra_optim.engine.plain import wide_dtype

COUNT = 0
"""Stands for a plain number of updates among what is kept."""

COUNTERS = frozenset({"step", "adam_step"})
"""Names of numbers of updates; some are kept in tensors without dimensions."""


def like(parameter: Tensor, shape: tuple[int, ...] | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor without memory, of the parameter's shape and at least float32 unless said otherwise."""
    return torch.empty(
        parameter.shape if shape is None else shape, dtype=dtype or wide_dtype(parameter), device="meta"
    )


def checked_state(
    where: str, parameter: Tensor, expected: Mapping[str, Tensor | int], saved: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a saved state as the optimizer would have allocated it, on the device where it is.

    Args:
        where: the optimizer and the parameter, for messages; ``{}`` in it stands for the name of a state.
        parameter: whose state it is.
        expected: what is kept: :func:`like` this, or :data:`COUNT`.
        saved: from a state dict; empty if nothing was kept.

    Raises:
        ValueError: a name is missing or foreign, a tensor stands for a number or the other way round, a
            shape differs, a dtype cannot be cast, a count is negative.
    """
    if not saved:
        return {}
    for name in sorted(expected.keys() ^ saved.keys()):
        raise ValueError(
            f"{where.format(name)} is {'missing' if name in expected else 'there'} in the state dict; "
            f"all of {sorted(expected)} are kept, or nothing"
        )
    for name, value in saved.items():
        if problem := _problem(name, expected[name], value, parameter.is_meta):
            raise ValueError(f"{where.format(name)} {problem}")
    return {name: _cast(name, expected[name], value, parameter) for name, value in saved.items()}


def _problem(name: str, kept: Tensor | int, value: Any, meta: bool) -> str:
    """Return what is wrong with a value, and what would be right; nothing if it fits."""
    shown = (
        f"a tensor of shape {tuple(value.shape)} and {value.dtype}"
        if isinstance(value, Tensor)
        else f"{value!r:.60}"
    )
    if isinstance(kept, int):
        right = type(value) is int and value >= 0
        return "" if right else f"is {shown} in the state dict; a whole number from 0 is kept"
    allowed = f"a tensor of shape {tuple(kept.shape)} and {kept.dtype}, {kept.numel()} elements, is kept"
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return f"is {shown} in the state dict; {allowed}"
    if value.shape != kept.shape:
        return f"has shape {tuple(value.shape)} in the state dict; {allowed}"
    if value.dtype != kept.dtype and not (value.is_floating_point() and kept.is_floating_point()):
        return f"is {shown} in the state dict; {allowed}"
    if value.is_meta and not meta:
        return f"is on the meta device in the state dict, without values; {allowed}"
    if name in COUNTERS and not value.is_meta and not 0 <= float(value) < math.inf:
        return f"is {float(value)} in the state dict; a count from 0 is kept"
    return ""


def _cast(name: str, kept: Tensor | int, value: Any, parameter: Tensor) -> Any:
    """Return a tensor in the dtype that is kept, and in memory as the parameter where they have one shape.

    Kernels pair elements by their place in memory.
    """
    if isinstance(kept, int):
        return value
    if name in COUNTERS:
        return value.to(torch.promote_types(value.dtype, torch.float32))
    value = value.to(kept.dtype)
    if type(value) is Tensor and value.stride() != (fresh := _fresh(kept, value, parameter)).stride():
        return fresh.copy_(value)
    return value


def _fresh(kept: Tensor, value: Tensor, parameter: Tensor) -> Tensor:
    if kept.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=kept.dtype, device=value.device)
    return torch.empty(kept.shape, dtype=kept.dtype, device=value.device)
