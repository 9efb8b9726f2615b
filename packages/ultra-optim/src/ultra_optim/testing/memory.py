"""Rules about the memory of state: its precision, and that it is nobody else's."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ultra_core.testing import Finding
from ultra_optim.testing.subject import Bag, Subject, gradients, take_step

SHAPES = ((6, 10), (12, 4), (64, 65), (7,))
COUNTING = 32
"""Bits of the narrowest integer that holds a count of steps."""


def _stepped(subject: Subject, dtype: torch.dtype, steps: int = 2) -> tuple[Bag, Any]:
    bag = Bag([torch.ones(shape, dtype=dtype) for shape in SHAPES])
    optimizer = subject.build(bag, lr=1e-2)
    for grads in gradients(bag.tensors(), steps):
        for p, grad in zip(bag.tensors(), grads, strict=True):
            p.grad = grad
        take_step(optimizer)
    return bag, optimizer


def _state(bag: Bag, optimizer: Any) -> Iterator[tuple[Tensor, str, Tensor]]:
    for p in bag.tensors():
        for name, value in optimizer.state.get(p, {}).items():
            if isinstance(value, Tensor):
                yield p, name, value


def keeps_state_wide(subject: Subject) -> None:
    """State is as wide as the parameter, or as float32 where the traits say so; counts do not saturate.

    An average with a weight of 0.001 does not move in bfloat16, which has 8 bits; a count in bfloat16 stops
    at 256, one in eight bits starts again; that holds after loading too.

    Fix: create state by ``torch.zeros_like(p, dtype=torch.float32)``, and count in a Python int; declare
    ``state_dtype="any"`` if narrow state is what the method is for, which holds for scales but not counts.
    """
    allowed = subject.traits.state_dtype
    _counts_stay_wide(subject)
    for dtype in (torch.float32, torch.bfloat16):
        for p, name, value in _state(*_stepped(subject, dtype)):
            floating = value.dtype.is_floating_point
            bits = torch.finfo(value.dtype).bits if floating else _integer_bits(value)
            if value.numel() == 1 < p.numel():
                counts = not floating or allowed != "any" or float(value) in (1.0, 2.0, 3.0)
                assert bits >= COUNTING or not counts, (
                    f"state {name!r} of a {_name(dtype)} parameter, a count or scale, is {_name(value.dtype)}"
                )
            elif floating and allowed != "any":
                least = 32 if allowed == "wide" else torch.finfo(dtype).bits
                assert bits >= least, (
                    f"state {name!r} of shape {tuple(value.shape)} of a {_name(dtype)} parameter is "
                    f"{_name(value.dtype)}; traits.state_dtype is {allowed!r}"
                )


def _counts_stay_wide(subject: Subject) -> None:
    """Load the state of bfloat16 parameters, whose dtype torch gives to all state but ``step``."""
    _, saved = _stepped(subject, torch.bfloat16)
    bag = Bag([torch.ones(shape, dtype=torch.bfloat16) for shape in SHAPES])
    loaded = subject.build(bag, lr=1e-2)
    loaded.load_state_dict(copy.deepcopy(saved.state_dict()))
    for p, name, value in _state(bag, loaded):
        if value.numel() == 1 < p.numel() and value.dtype.is_floating_point and float(value) == 2:
            bits = torch.finfo(value.dtype).bits
            if bits < COUNTING:
                raise Finding(
                    f"state {name!r}, a count of steps, is {_name(value.dtype)} after load_state_dict, and "
                    "stops at 256",
                    fix="call it 'step', which torch does not cast, or count in a Python int.",
                )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _integer_bits(value: Tensor) -> int:
    return 64 if value.dtype == torch.bool else torch.iinfo(value.dtype).bits


def owns_its_state(subject: Subject) -> None:
    """State shares no memory with parameters and gradients; gradients may be overwritten after ``step()``.

    A training loop may reuse the memory of gradients: the run is repeated with one tensor for all gradients
    of a parameter, filled with NaN between the steps.

    Fix: copy what is kept, as in ``state["previous"] = p.grad.clone()``.
    """
    bag, optimizer = _stepped(subject, torch.float32)
    for p, name, value in _state(bag, optimizer):
        for other, what in ((p, "the parameter"), (p.grad, "its gradient")):
            if other is not None and _storage(other) == _storage(value):
                raise Finding(f"state {name!r} of {tuple(p.shape)} is in the memory of {what}")
    runs = []
    for reused in (False, True):
        bag = Bag([torch.ones(shape) for shape in SHAPES])
        optimizer = subject.build(bag, lr=1e-2)
        buffers = [torch.empty_like(p) for p in bag.tensors()]
        for grads in gradients(bag.tensors(), 4):
            for p, grad, buffer in zip(bag.tensors(), grads, buffers, strict=True):
                p.grad = buffer.copy_(grad) if reused else grad
            take_step(optimizer)
            for buffer in buffers:
                buffer.fill_(float("nan"))
        runs.append(bag.tensors())
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one, other), (
            f"{tuple(one.shape)} moves differently where the memory of its gradient is used again"
        )


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
