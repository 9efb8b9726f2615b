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

BEFORE, INSIDE, AFTER = range(3)
"""When a value is known: before the loop, for an element inside it, or once it has added up all of them."""

TYPES = {torch.float32: "float", torch.float64: "double"}

BLOCK = 1024
"""Elements that are added up in their own precision; the sums of blocks are added in double precision."""

OPERATIONS: dict[str, Callable[..., str]] = {
    "abs": lambda x: f"ABS({x})",
    "add": lambda x, y, alpha="1": f"{x} + {alpha} * {y}",
    "addcdiv": lambda x, y, z, value="1": f"{x} + {value} * ({y} / {z})",
    "addcmul": lambda x, y, z, value="1": f"{x} + {value} * {y} * {z}",
    "clamp": lambda x, min=None, max=None: _least(_largest(x, min), max),
    "clamp_max": lambda x, max: _least(x, max),
    "clamp_min": lambda x, min: _largest(x, min),
    "clone": lambda x: x,
    "div": lambda x, y: f"{x} / {y}",
    "ge": lambda x, y: f"{x} >= {y}",
    "lerp": lambda x, y, weight: f"{x} + {weight} * ({y} - {x})",
    "lt": lambda x, y: f"{x} < {y}",
    "mul": lambda x, y: f"{x} * {y}",
    "neg": lambda x: f"-{x}",
    "reciprocal": lambda x: f"1 / {x}",
    "rsqrt": lambda x: f"1 / ROOT({x})",
    "rsub": lambda x, y: f"{y} - {x}",
    "sign": lambda x: f"({x} > 0 ? (T)1 : {x} < 0 ? (T)-1 : (T)0)",
    "sqrt": lambda x: f"ROOT({x})",
    "square": lambda x: f"{x} * {x}",
    "sub": lambda x, y, alpha="1": f"{x} - {alpha} * {y}",
    "where": lambda x, y, z: f"CHOOSE({x}, {y}, {z})",
}
"""C for what ATen's operations of these names return, and with ``_foreach_`` before them or ``_`` after."""


def _largest(x: str, low: str | None) -> str:
    return x if low is None else f"({x} < {low} ? {low} : {x})"


def _least(x: str, high: str | None) -> str:
    return x if high is None else f"({x} > {high} ? {high} : {x})"


CHOOSE = """
static inline __attribute__((always_inline)) REAL choose_REAL(int c, REAL x, REAL y) {
typedef union { REAL real; WORD word; } Either;
const WORD mask = -(WORD)c;
return ((Either){.word = (((Either){.real = x}).word & mask) | (((Either){.real = y}).word & ~mask)}).real;
}
"""
"""Choice by masks: gcc makes vectors of a condition that is the same for all elements, one by one."""

HEAD = (
    "#define ROOT(x) _Generic((x), float: __builtin_sqrtf, default: __builtin_sqrt)(x)\n"
    "#define ABS(x) _Generic((x), float: __builtin_fabsf, default: __builtin_fabs)(x)"
    + CHOOSE.replace("REAL", "float").replace("WORD", "int")
    + CHOOSE.replace("REAL", "double").replace("WORD", "long long")
    + "#define CHOOSE(c, x, y) "
    "_Generic((x) + (y), float: choose_float, default: choose_double)((c) != 0, x, y)\n"
    "void update(void *const *arrays, const double *numbers, double *results, const long long *lengths, "
    "long long rows)"
)
"""What the loops call, and the function: each row has so many arrays, numbers, results, and a length.

Numbers are the update's in order, then the columns that have one element.
"""


class Source(NamedTuple):
    """A loop in C."""

    text: str
    results: int
    """Of a row."""
    shape: tuple[int, ...] | None
    """Of what the update returns for a row; None for nothing."""


def source_of(
    update: Callable[..., Any],
    alone: Sequence[bool],
    names: Sequence[str],
    fixed: Mapping[str, Any],
    dtype: torch.dtype,
) -> Source:
    """Trace an update and write its loop.

    Args:
        update: takes lists of tensors and numbers that are tensors.
        alone: for each column, whether it has one element.
        names: of the numbers that may be others in every call.
        fixed: values that are part of the code.
        dtype: of the other columns.

    Raises:
        NotImplementedError: the update does something for which there is no C.
    """
    writer = _Writer(update.__name__)
    with torch.inference_mode(False), torch.no_grad():
        tensors = [torch.ones(() if one else 2, device="cpu") for one in alone]
        numbers = [torch.ones((), dtype=torch.float64, device="cpu") for _ in names]
        for number in [*numbers, *(t for t in tensors if t.ndim == 0)]:
            writer.give(number)
        for array in (t for t in tensors if t.ndim == 1):
            writer.give(array)
        with writer:
            result = update(*([t] for t in tensors), **dict(zip(names, numbers, strict=True)), **fixed)
    return writer.write(None if result is None else result[0], TYPES[dtype])


@attrs.define
class _Value:
    """A tensor of the trace: when it is known, and its name in C, which in-place operations change."""

    when: int
    name: str


class _Writer(TorchDispatchMode):
    """Sees the operations that are called inside, and writes a line for each."""

    def __init__(self, update: str) -> None:
        super().__init__()
        self.update = update
        self.lines: tuple[list[str], list[str], list[str]] = ([], [], [])
        self.sums: list[str] = []
        self.arrays: list[tuple[str, _Value]] = []
        self.numbers, self.names = itertools.count(), itertools.count()
        self.values: dict[int, Any] = {}
        self.seen: list[Tensor] = []  # alive, or another would get its id

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports all of dynamo, in seconds, to mark what it would never see

    def give(self, tensor: Tensor) -> None:
        """Take a tensor as one that the loop is given: a number, or an array that it may write to."""
        if tensor.ndim == 0:
            self.note(tensor, self.new(BEFORE, f"numbers[{next(self.numbers)}]"))
        else:
            value = self.new(INSIDE, f"a{len(self.arrays)}[i]")
            self.arrays.append((value.name, value))
            self.note(tensor, value)

    def note(self, tensor: Tensor, value: _Value | list[_Value]) -> None:
        """Remember what a tensor of the trace is in C."""
        self.seen.append(tensor)
        self.values[id(tensor)] = value

    def new(self, when: int, expression: str) -> _Value:
        """Write a line that computes a value."""
        value = _Value(when, f"v{next(self.names)}")
        self.lines[when].append(f"const {'T' if when == INSIDE else 'double'} {value.name} = {expression};")
        return value

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Write what an operation of ATen does, and do it."""
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

    def write(self, result: Tensor | None, number: str) -> Source:
        """Write the whole function.

        Args:
            result: what the update returned for the row.
            number: C's type of an element.
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
            f"for (long long start = 0; start < n; start += {BLOCK}) {{",
            f"const long long stop = start + {BLOCK} < n ? start + {BLOCK} : n;",
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
        return Source("\n".join([f"typedef {number} T;", HEAD, "{", *body, "}", ""]), len(results), shape)

    def apply(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Write what an operation on one tensor does."""
        first = args[0]
        if name == "stack":
            return list(first)
        if name == "copy_":
            first.when, first.name = args[1].when, args[1].name
            return first
        if name == "sum":
            return self.total(first)
        if name == "linalg_vector_norm" and len(args) == 1:
            return self.new(AFTER, f"ROOT({self.total(self.apply('mul', [first, first], {})).name})")
        if name in ("pow", "pow_") and args[1] == 2:  # what Tensor.square is
            name, args = name.replace("pow", "square"), args[:1]
        known = OPERATIONS.get(name.removesuffix("_"))
        if known is None:
            raise self.unknown(name)
        operands = [*args, *kwargs.values()]
        when = max(operand.when for operand in operands if isinstance(operand, _Value))
        try:
            named = {key: self.at(operand, when) for key, operand in kwargs.items()}
            value = self.new(when, known(*(self.at(operand, when) for operand in args), **named))
        except (TypeError, ValueError) as error:  # arguments that the C has not
            raise self.unknown(f"{name} with {', '.join([str(len(args)), *kwargs])} arguments") from error
        if not name.endswith("_"):
            return value
        first.when, first.name = value.when, value.name
        return first

    def total(self, value: _Value) -> _Value:
        """Return the sum of a value over all elements."""
        name = f"sum{len(self.sums)}"
        self.sums.append(name)
        self.lines[INSIDE].append(f"{name} += {self.at(value, INSIDE)};")
        return _Value(AFTER, f"total_{name}")

    def at(self, operand: Any, when: int) -> Any:
        """Return how to write a value, or a number of Python's, where an operation needs it."""
        if operand is None:
            return None
        if isinstance(operand, _Value):
            if {operand.when, when} == {INSIDE, AFTER}:
                raise self.unknown("an operation on elements and a sum of all of them")
            return f"(T){operand.name}" if operand.when < when == INSIDE else operand.name
        number = repr(operand) if isinstance(operand, int) else float(operand).hex()
        return f"(T){number}" if when == INSIDE else number

    def unknown(self, what: str) -> NotImplementedError:
        """Return what to raise where there is no C."""
        return NotImplementedError(
            f"{self.update} is marked as compilable and calls {what}; known are "
            f"{', '.join(OPERATIONS)}, their _foreach_ and in-place forms, copy_, stack, sum and "
            "linalg_vector_norm"
        )
