"""C source of a loop that does in one pass over memory what an element-wise update does in several.

An update is traced once, on one parameter, and each of its operations becomes a line of C.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import attrs
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from ultra_optim.engine import sizes
from ultra_optim.engine.c_operations import HEAD, OPERATIONS, TYPES

BEFORE, INSIDE, AFTER = range(3)
"""Where a value is computed: before the loop, in it for every element, or after it from a sum."""


class LoopSource(NamedTuple):
    """A loop in C.

    Attributes:
        text: the source.
        results: how many numbers a row returns.
        shape: shape of what the update returns for a row; None if it returns None.
    """

    text: str
    results: int
    shape: tuple[int, ...] | None


def source_of(
    update: Callable[..., Any],
    scalars: Sequence[bool],
    names: Sequence[str],
    fixed: Mapping[str, Any],
    dtype: torch.dtype,
) -> LoopSource:
    """Trace an update and write its loop.

    Args:
        update: a function of lists of tensors; its numbers may be tensors.
        scalars: for each column, whether it has one element.
        names: names of the numbers that may differ in every call.
        fixed: values that are part of the code.
        dtype: dtype of the other columns.

    Raises:
        NotImplementedError: the update calls an operation that has no C expression.
    """
    writer = _Writer(update.__name__)
    with torch.inference_mode(False), torch.no_grad():
        tensors = [torch.ones(() if scalar else 2, device="cpu") for scalar in scalars]
        numbers = [torch.ones((), dtype=torch.float64, device="cpu") for _ in names]
        for number in [*numbers, *(t for t in tensors if t.ndim == 0)]:
            writer.add_input(number)
        for array in (t for t in tensors if t.ndim == 1):
            writer.add_input(array)
        with writer:
            result = update(*([t] for t in tensors), **dict(zip(names, numbers, strict=True)), **fixed)
    return writer.write(None if result is None else result[0], TYPES[dtype])


@attrs.define
class _Value:
    """A tensor of the trace: where it is computed, and its name in C, which in-place operations change."""

    where: int
    name: str


class _Writer(TorchDispatchMode):
    """Records the operations that are called in its context as lines of C."""

    def __init__(self, update: str) -> None:
        super().__init__()
        self.update = update
        self.lines: tuple[list[str], list[str], list[str]] = ([], [], [])
        self.sums: list[str] = []
        self.arrays: list[tuple[str, _Value]] = []
        self.numbers, self.names = itertools.count(), itertools.count()
        self.values: dict[int, Any] = {}
        self.alive: list[Tensor] = []  # so that no other tensor gets the id of one of them

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch imports all of dynamo, which takes seconds and is not needed

    def add_input(self, tensor: Tensor) -> None:
        """Declare a tensor as an input of the loop: a number, or an array that it may write to."""
        if tensor.ndim == 0:
            self.note(tensor, self.new(BEFORE, f"numbers[{next(self.numbers)}]"))
        else:
            value = self.new(INSIDE, f"a{len(self.arrays)}[i]")
            self.arrays.append((value.name, value))
            self.note(tensor, value)

    def note(self, tensor: Tensor, value: _Value | list[_Value]) -> None:
        """Record the C value of a tensor of the trace."""
        self.alive.append(tensor)
        self.values[id(tensor)] = value

    def new(self, where: int, expression: str) -> _Value:
        """Write a line that computes a value."""
        value = _Value(where, f"v{next(self.names)}")
        self.lines[where].append(f"const {'T' if where == INSIDE else 'double'} {value.name} = {expression};")
        return value

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation of ATen and write what it does."""
        results = func(*args, **(kwargs or {}))
        given, named = tree_map_only(Tensor, lambda t: self.values[id(t)], (args, kwargs or {}))
        name = func.overloadpacket.__name__
        if name.startswith("_foreach_"):
            given = [arg[0] if isinstance(arg, list | tuple) else arg for arg in given]
            value = self.apply(name.removeprefix("_foreach_"), given, named)
            for tensor in results or ():
                self.note(tensor, value)
        else:
            self.note(results, self.apply(name, given, named))
        return results

    def write(self, result: Tensor | None, number: str) -> LoopSource:
        """Write the whole function.

        Args:
            result: what the update returned for the row.
            number: the C type of an element.
        """
        written = [(i, v) for i, (before, v) in enumerate(self.arrays) if v.name != before]
        stores = [f"a{i}[i] = {self.at(v, INSIDE)};" for i, v in written]
        value = [] if result is None else self.values[id(result)]
        results = value if isinstance(value, list) else [value]
        before, inside, after = self.lines
        columns, numbers = len(self.arrays), next(self.numbers)
        body = [
            "for (; rows > 0; rows--) {",
            *(f"T *restrict a{i} = arrays[{i}];" for i in range(columns)),
            "const long long n = *lengths;",
            *before,
            *(f"double total_{name} = 0;" for name in self.sums),
            f"for (long long start = 0; start < n; start += {sizes.SUM_BLOCK}) {{",
            f"const long long stop = start + {sizes.SUM_BLOCK} < n ? start + {sizes.SUM_BLOCK} : n;",
            *(f"T {name} = 0;" for name in self.sums),
            f"#pragma omp simd {' '.join(f'reduction(+ : {name})' for name in self.sums)}",
            "for (long long i = start; i < stop; i++) {",
            *inside,
            *stores,
            "}",
            *(f"total_{name} += {name};" for name in self.sums),
            "}",
            *after,
            *(f"results[{i}] = {self.at(value, AFTER)};" for i, value in enumerate(results)),
            f"arrays += {columns}, numbers += {numbers}, results += {len(results)}, lengths++;",
            "}",
        ]
        shape = None if result is None else tuple(result.shape)
        return LoopSource("\n".join([f"typedef {number} T;", HEAD, "{", *body, "}", ""]), len(results), shape)

    def apply(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Write an operation on one tensor; return its value."""
        first = args[0]
        if name == "stack":
            return list(first)
        if name == "copy_":
            first.where, first.name = args[1].where, args[1].name
            return first
        if name == "sum":
            return self.total(first)
        if name == "linalg_vector_norm" and len(args) == 1:
            return self.new(AFTER, f"ROOT({self.total(self.apply('mul', [first, first], {})).name})")
        if name in ("pow", "pow_") and args[1] == 2:  # Tensor.square calls this
            name, args = name.replace("pow", "square"), args[:1]
        known = OPERATIONS.get(name.removesuffix("_"))
        if known is None:
            raise self.unknown(name)
        operands = [*args, *kwargs.values()]
        where = max(operand.where for operand in operands if isinstance(operand, _Value))
        try:
            named = {key: self.at(operand, where) for key, operand in kwargs.items()}
            value = self.new(where, known(*(self.at(operand, where) for operand in args), **named))
        except (TypeError, ValueError) as error:  # other arguments than the expression takes
            raise self.unknown(f"{name} with {', '.join([str(len(args)), *kwargs])} arguments") from error
        if not name.endswith("_"):
            return value
        first.where, first.name = value.where, value.name
        return first

    def total(self, value: _Value) -> _Value:
        """Return the sum of a value over all elements."""
        name = f"sum{len(self.sums)}"
        self.sums.append(name)
        self.lines[INSIDE].append(f"{name} += {self.at(value, INSIDE)};")
        return _Value(AFTER, f"total_{name}")

    def at(self, operand: Any, where: int) -> Any:
        """Return a value or a Python number as an operand of an operation that is computed there."""
        if operand is None:
            return None
        if isinstance(operand, _Value):
            if {operand.where, where} == {INSIDE, AFTER}:
                raise self.unknown("an operation on elements and a sum of all of them")
            return f"(T){operand.name}" if operand.where < where == INSIDE else operand.name
        number = repr(operand) if isinstance(operand, int) else float(operand).hex()
        return f"(T){number}" if where == INSIDE else number

    def unknown(self, what: str) -> NotImplementedError:
        """Return the error for an operation that has no C expression."""
        return NotImplementedError(
            f"{self.update} is marked as compilable and calls {what}; known are "
            f"{', '.join(OPERATIONS)}, their _foreach_ and in-place forms, copy_, stack, sum and "
            "linalg_vector_norm"
        )
