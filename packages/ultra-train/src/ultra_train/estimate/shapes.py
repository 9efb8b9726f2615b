"""Tensors without memory whose small integers have values: what a training step runs on to be measured.

torch's ``FakeTensorMode`` knows the shape, the dtype and the device of every result, but no values, and a
step of training reads some: how many positions are masked, whether a batch has padding, how many tokens an
expert gets. Here integers, flags and small tables keep their values, computed from those of the batch. Where
a value would follow from weights that do not exist, the most ordinary one is assumed: experts are chosen in
turn, numbers are finite, and nothing is out of bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from ultra_train.estimate.grouped_products import grouped_product
from ultra_train.estimate.meter import Meter

aten = torch.ops.aten

MOST_INTEGERS = 1 << 24
"""Largest tensor of integers or flags whose values are known, in elements."""

MOST_NUMBERS = 1 << 16
"""Largest tensor of other numbers whose values are known: tables of positions, counters."""

_UNDEFINED = frozenset(
    {
        aten.empty.memory_format,
        aten.empty_like.default,
        aten.empty_strided.default,
        aten.empty_permuted.default,
        aten.new_empty.default,
        aten.new_empty_strided.default,
    }
)
"""Operations whose results have no values yet."""

_PICKS = frozenset({aten.topk, aten.sort, aten.argsort, aten.argmax, aten.argmin, aten.multinomial})
"""Operations that return indices, which are spread evenly where the values are unknown."""


class ShapeMode(TorchDispatchMode):
    """Runs every operation on shapes, and those on known integers on their values too.

    Build the model and run the step inside it. Tensors that were made outside need :meth:`fake` first.
    Nothing is allocated but the known values.

    Args:
        meter: is told of every operation and its result.
    """

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self.meter = meter
        self.fakes = FakeTensorMode(allow_non_fake_inputs=True)

    def fake(self, tensor: Tensor) -> Tensor:
        """Return a tensor without memory that knows the values of a real one."""
        with _disable_current_modes():
            made = self.fakes.from_tensor(tensor)
        _know(made, tensor)
        self.meter.hold(made)
        return made

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the result of an operation, as a tensor without memory or a plain number."""
        kwargs = dict(kwargs or {})
        if func is torch.ops.prim.device.default:
            return args[0].fake_device
        if func is aten._local_scalar_dense.default:
            return _number(args[0])
        result = self._result(func, args, kwargs)
        self.meter.note(func, args, kwargs, result)
        return result

    def _result(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if func is aten._grouped_mm.default:
            return grouped_product(*args, **kwargs)
        if torch.Tag.dynamic_output_shape in func.tags:
            return _pytree.tree_map_only(Tensor, self.fake, _run(func, args, kwargs, _assumed))
        with self.fakes:
            result = func(*args, **kwargs)
        if _is_known(func, args, kwargs):
            _pair(result, _run(func, args, kwargs, _values))
        else:
            _forget_written(func, args)
            if func.overloadpacket in _PICKS:
                _choose_in_turn(result, args[0])
            elif func.overloadpacket is aten.any:  # drawn again while any is out of bounds, and the like
                with _disable_current_modes():
                    _know(result, torch.zeros(result.shape, dtype=torch.bool))
        return result


def _is_known(func: Any, args: Any, kwargs: Mapping[str, Any]) -> bool:
    """Whether the values of a result follow from known ones."""
    if torch.Tag.nondeterministic_seeded in func.tags or func in _UNDEFINED:
        return False
    tensors = [x for x in _pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    if not tensors:
        return _factory_size(args, kwargs) <= MOST_INTEGERS
    return all(_values(tensor) is not None for tensor in tensors)


def _run(func: Any, args: Any, kwargs: Mapping[str, Any], values: Any) -> Any:
    """Run an operation on the values of its arguments, on the CPU."""
    own_args, own_kwargs = _pytree.tree_map_only(Tensor, values, (args, dict(kwargs)))
    if "device" in own_kwargs:
        own_kwargs["device"] = torch.device("cpu")
    with _disable_current_modes():
        return func(*own_args, **own_kwargs)


def _values(tensor: Tensor) -> Tensor | None:
    if isinstance(tensor, FakeTensor):
        return getattr(tensor, "known_values", None)
    return tensor if tensor.numel() <= MOST_NUMBERS else None


def _assumed(tensor: Tensor) -> Tensor:
    """Return the values of a tensor, or true flags and ones."""
    known = _values(tensor)
    if known is not None:
        return known
    with _disable_current_modes():
        return torch.ones(tensor.shape, dtype=tensor.dtype)


def _number(tensor: Tensor) -> Any:
    with _disable_current_modes():
        return _assumed(tensor).item()


def _know(tensor: Any, values: Tensor | None) -> None:
    """Record the values of a tensor, unless they would take memory themselves."""
    if values is not None:
        inexact = values.is_floating_point() or values.is_complex()
        values = None if values.numel() > (MOST_NUMBERS if inexact else MOST_INTEGERS) else values
    tensor.known_values = values


def _pair(result: Any, values: Any) -> None:
    """Record the values of each tensor of a result."""
    if isinstance(result, FakeTensor) and isinstance(values, Tensor):
        _know(result, values)
    elif isinstance(result, (tuple, list)):
        for one, value in zip(result, values, strict=True):
            _pair(one, value)


def _forget_written(func: Any, args: Iterable[Any]) -> None:
    """Forget the values of tensors that are overwritten by unknown ones."""
    for argument, value in zip(func._schema.arguments, args, strict=False):
        if argument.alias_info is not None and argument.alias_info.is_write:
            for tensor in _pytree.tree_leaves(value):
                if isinstance(tensor, FakeTensor):
                    _know(tensor, None)


def _choose_in_turn(result: Any, source: Tensor) -> None:
    """Let indices run through the choices, so that each is chosen equally often."""
    choices = source.shape[-1] if source.dim() else 1
    for tensor in _pytree.tree_leaves(result):
        if isinstance(tensor, FakeTensor) and tensor.dtype == torch.int64:
            with _disable_current_modes():
                turns = torch.arange(tensor.numel()) % max(1, choices)
            _know(tensor, turns.view(tensor.shape))


def _factory_size(args: Any, kwargs: Mapping[str, Any]) -> int:
    """Return the number of elements of a new tensor, or an upper bound for ranges."""
    sizes = args[0] if args and isinstance(args[0], (list, tuple)) else kwargs.get("size", ())
    ends = [abs(x) for x in args if isinstance(x, int)]
    return max([math.prod(map(int, sizes)), *ends])
