"""Block-wise dynamic quantisation, arXiv 2110.02861, one number at a time."""

from __future__ import annotations

import torch
from torch import Tensor


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


def rounded(t: Tensor, signed: bool, block: int = 256) -> Tensor:
    """Return what :func:`round_trip` gives for all numbers of a tensor, in float32 as they are decoded."""
    values = torch.tensor(dynamic_values(signed), dtype=torch.float64)
    parts = []
    for part in t.flatten().split(block):
        scale = part.abs().max().float().double()
        share = part.double() / scale if scale > 0 else part.double()
        distance = (share[:, None] - values).abs()
        if not signed:
            distance[:, 0] = torch.where(part == 0, 0.0, torch.inf)
        parts.append((values[distance.argmin(1)].float() * scale.float()).to(t.dtype))
    return torch.cat(parts).view_as(t)
