"""Block-wise dynamic quantisation, arXiv 2110.02861, one number at a time."""

from __future__ import annotations


def dynamic_values(signed: bool) -> list[float]:
    """Return the values of the 8-bit codes: decades with equal cells, with a sign if signed; 0 and 1."""
    found = {0.0, 1.0}
    for exponent in range(7):
        cells = 2**exponent * (1 if signed else 2)
        for cell in range(cells):
            middle = 0.1 + 0.9 * (cell + 0.5) / cells
            found |= {s * middle * 10.0 ** (exponent - 6) for s in ((1, -1) if signed else (1,))}
    return sorted(found)


def round_trip(numbers: list[float], signed: bool, block: int = 256) -> list[float]:
    """Return each number as the largest magnitude of its block times the nearest value."""
    values = dynamic_values(signed)
    result = []
    for start in range(0, len(numbers), block):
        part = numbers[start : start + block]
        scale = max(abs(x) for x in part)
        for x in part:
            allowed = values if signed or x == 0 else values[1:]
            result.append(scale * min(allowed, key=lambda v: abs(x / scale - v)) if scale else 0.0)
    return result
