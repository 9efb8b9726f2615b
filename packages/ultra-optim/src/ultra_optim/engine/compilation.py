"""Which updates may be compiled, and what the option ``compile`` of an optimizer means.

=========  ===============================================================================================
``False``  The plain form (:mod:`ultra_optim.engine.plain`) on every device: torch operations on whole
           tensors. Scratch memory is as large as the parameters of a group.
``None``   The default. On a CPU, passes over cache-sized slices (:mod:`ultra_optim.engine.passes`); updates
           that are marked with :func:`compilable` are C loops (:mod:`ultra_optim.engine.c_backend`) where a
           C compiler works. On other devices, the plain form.
``True``   As ``None``, but a C compiler is required, and long tensors on other devices go through
           ``torch.compile`` (:mod:`ultra_optim.engine.torch_backend`).
=========  ===============================================================================================

Tensors that are not contiguous or are of a subclass (DTensor) always take the plain form, and low-precision
tensors on a CPU torch operations. The results of these ways differ by rounding. AdamW does not have the
option, because torch's kernel is one pass already, nor do methods that are not element-wise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
_compilable: set[Callable[..., Any]] = set()


def compilable(update: Function) -> Function:
    """Mark an update as one that may be compiled.

    Its numbers may then be tensors, and it calls nothing but ``c_operations.OPERATIONS``.
    """
    _compilable.add(update)
    return update


def marked() -> frozenset[Callable[..., Any]]:
    """Return all updates that are marked."""
    return frozenset(_compilable)


def is_compilable(update: Callable[..., Any]) -> bool:
    """Whether an update is marked."""
    return update in _compilable


def split_numbers(numbers: Mapping[str, Any]) -> tuple[dict[str, float], tuple[tuple[str, Any], ...]]:
    """Return the numbers that may change between calls, and (name, value) of those that are part of the code.

    Flags, strings and None are part of the code.
    """
    changing, fixed = {}, []
    for name, value in numbers.items():
        if value is None or isinstance(value, bool | str):
            fixed.append((name, value))
        else:
            changing[name] = float(value)
    return changing, tuple(fixed)
