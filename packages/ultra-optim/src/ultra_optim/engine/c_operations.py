"""C expressions for the operations of torch that updates may call, and the text around a loop."""

from __future__ import annotations

from collections.abc import Callable

import torch

TYPES = {torch.float32: "float", torch.float64: "double"}

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
"""C expressions for ATen operations; also used for their ``_foreach_`` and in-place forms."""


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
"""Selection by bit masks, because gcc does not vectorise a condition that is the same for all elements."""

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
"""The helpers of a loop and the signature of its function.

Every row has the same number of arrays, numbers and results, and a length. Its numbers are those of the
update in order, then the columns that have one element.
"""
