"""The specification of the state of a parameter, and the check of a saved state against it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ultra_optim.engine.plain import wide_dtype

COUNT = 0
"""In a specification: a count of updates, which is a plain number."""

COUNTERS = frozenset({"step", "adam_step"})
"""Names of counts of updates; some of them are tensors without dimensions."""


def tensor_spec(
    parameter: Tensor, shape: tuple[int, ...] | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Return the specification of a state tensor, by default of the parameter's shape and at least float32.

    It is a tensor on the meta device, without memory.
    """
    return torch.empty(
        parameter.shape if shape is None else shape, dtype=dtype or wide_dtype(parameter), device="meta"
    )


def checked_state(
    where: str, parameter: Tensor, expected: Mapping[str, Tensor | int], saved: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a saved state with the dtypes and memory layouts that the optimizer would give it.

    Args:
        where: the optimizer and the parameter, for messages; ``{}`` is replaced by the name of a state.
        parameter: the parameter.
        expected: the specification: :func:`tensor_spec` or :data:`COUNT` for each name.
        saved: the state in a state dict; empty if the parameter has none.

    Raises:
        ValueError: a name is missing or unknown, a tensor is expected and a number found or vice versa, a
            shape differs, a dtype cannot be cast, or a count is negative.
    """
    if not saved:
        return {}
    for name in sorted(expected.keys() ^ saved.keys()):
        raise ValueError(
            f"{where.format(name)} is {'missing' if name in expected else 'unexpected'} in the state dict; "
            f"the state has all of {sorted(expected)} or none"
        )
    for name, value in saved.items():
        if problem := _problem(name, expected[name], value, parameter.is_meta):
            raise ValueError(f"{where.format(name)} {problem}")
    return {name: _cast(name, expected[name], value, parameter) for name, value in saved.items()}


def _problem(name: str, expected: Tensor | int, value: Any, meta: bool) -> str:
    """Return what is wrong with a value and what is expected; an empty string if it fits."""
    shown = (
        f"a tensor of shape {tuple(value.shape)} and {value.dtype}"
        if isinstance(value, Tensor)
        else f"{value!r:.60}"
    )
    if isinstance(expected, int):
        right = type(value) is int and value >= 0
        return "" if right else f"is {shown} in the state dict; expected a whole number from 0"
    shape, dtype = tuple(expected.shape), expected.dtype
    allowed = f"expected a tensor of shape {shape} and {dtype}, {expected.numel()} elements"
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return f"is {shown} in the state dict; {allowed}"
    if value.shape != expected.shape:
        return f"has shape {tuple(value.shape)} in the state dict; {allowed}"
    if value.dtype != expected.dtype and not (value.is_floating_point() and expected.is_floating_point()):
        return f"is {shown} in the state dict; {allowed}"
    if value.is_meta and not meta:
        return f"is on the meta device in the state dict, without values; {allowed}"
    if name in COUNTERS and not value.is_meta and not 0 <= float(value) < math.inf:
        return f"is {float(value)} in the state dict; expected a count from 0"
    return ""


def _cast(name: str, expected: Tensor | int, value: Any, parameter: Tensor) -> Any:
    """Return a tensor with the expected dtype, and the memory layout of a parameter of the same shape.

    Kernels pair elements by their position in memory.
    """
    if isinstance(expected, int):
        return value
    if name in COUNTERS:
        return value.to(torch.promote_types(value.dtype, torch.float32))
    value = value.to(expected.dtype)
    if type(value) is Tensor and value.stride() != (fresh := _fresh(expected, value, parameter)).stride():
        return fresh.copy_(value)
    return value


def _fresh(expected: Tensor, value: Tensor, parameter: Tensor) -> Tensor:
    if expected.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=expected.dtype, device=value.device)
    return torch.empty(expected.shape, dtype=expected.dtype, device=value.device)
