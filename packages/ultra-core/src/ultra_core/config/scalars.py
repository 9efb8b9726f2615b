"""Resolves plain scalars: the core schema of YAML 1.2, restricted to finite numbers of 64 bits."""

from __future__ import annotations

import math
import re

Scalar = str | int | float | bool | None

FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Characters that YAML does not allow in a string."""

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    re.ASCII,
)


def resolve(text: str) -> Scalar:
    """Return the value of a plain (unquoted) scalar in the core schema of YAML 1.2.

    Raises:
        ValueError: a number that is not finite, or a whole number beyond 64 bits.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        number = int(text, base) if len(text) < 40 else 1 << 64
        if not -(1 << 63) <= number < 1 << 63:
            raise ValueError("the whole number does not fit into 64 bits")
        return number
    if _FLOAT.fullmatch(text):
        value = float(re.sub(r"(?i)\.(inf|nan)$", r"\1", text))
        if not math.isfinite(value):
            raise ValueError(f"{text} is not a finite number")
        return value
    return text


def is_string(text: str) -> bool:
    """Whether a plain scalar is a string, so that it needs no quotes."""
    try:
        return isinstance(resolve(text), str)
    except ValueError:
        return False
