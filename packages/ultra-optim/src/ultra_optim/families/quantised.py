"""Optimizer state in 8 bits: codes of a dynamic map, with one scale for each block of 256 numbers."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

BLOCK = 256
"""Numbers that share a scale, as in bitsandbytes; part of the format of the state."""


@functools.cache
def dynamic_map(signed: bool) -> Tensor:
    """Return the 256 values of the codes, ascending, in [-1, 1] or [0, 1] (arXiv 2110.02861).

    The decade of 10^-6 has 1 value (2 if unsigned) and each larger decade twice as many as the one below: the
    means of equal cells between 0.1 and 1 of the decade, with their negatives if signed; and 0 and 1.
    """
    values = [0.0, 1.0]
    for decade in range(7):
        cells = 2**decade if signed else 2 ** (decade + 1)
        edges = torch.linspace(0.1, 1, cells + 1, dtype=torch.float64)
        means = 10.0 ** (decade - 6) * (edges[:-1] + edges[1:]) / 2
        values += means.tolist()
        if signed:
            values += (-means).tolist()
    return torch.tensor(sorted(values), dtype=torch.float32)


def allocate(numel: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return flat codes and scales that represent zeros."""
    codes = torch.zeros(numel, dtype=torch.uint8, device=device)
    return codes, torch.zeros(-(-numel // BLOCK), device=device)


def state_bytes(numel: int) -> int:
    """Return the bytes of codes and scales for this many numbers: 1 + 4/256 each, scales rounded up."""
    return numel + 4 * -(-numel // BLOCK)


def dequantize(codes: Tensor, scales: Tensor, *, signed: bool) -> Tensor:
    """Return the flat float32 values of flat codes and their scales."""
    values = _on(signed, codes.device)[0].index_select(0, codes.int())
    whole = codes.numel() - codes.numel() % BLOCK
    values[:whole].view(-1, BLOCK).mul_(scales[: whole // BLOCK, None])
    values[whole:].mul_(scales[whole // BLOCK :])
    return values


def quantize_(values: Tensor, codes: Tensor, scales: Tensor, *, signed: bool) -> None:
    """Write the nearest codes of flat values, and the largest magnitude of each block, to codes and scales.

    Unsigned values that are not 0 do not become 0: with a second moment of 0 the next step would be m / eps.

    Args:
        values: ``(n,)``, floating point; not negative unless signed.
        codes: ``(n,)``, uint8.
        scales: ``(ceil(n / 256),)``, float32.
        signed: whether to use the signed map.
    """
    values = values.float()
    whole = values.numel() - values.numel() % BLOCK
    _encode(values[:whole].view(-1, BLOCK), codes[:whole], scales[: whole // BLOCK], signed)
    _encode(values[None, whole:], codes[whole:], scales[whole // BLOCK :], signed)


def _encode(blocks: Tensor, codes: Tensor, scales: Tensor, signed: bool) -> None:
    if blocks.numel():
        torch.amax(blocks.abs(), dim=1, out=scales)
        unit = blocks / torch.where(scales > 0, scales, 1.0)[:, None]
        codes.copy_(_nearest(unit.view(-1), signed))


def _nearest(unit: Tensor, signed: bool) -> Tensor:
    """Return the nearest codes; in a tie, that of the smaller value.

    The upper 16 bits of a float select a cell that contains at most one boundary between two codes, and a
    comparison with that boundary selects the code. A binary search takes many times as long on a CPU.
    """
    _, boundaries, lowest = _on(signed, unit.device)
    low = lowest.index_select(0, (unit.view(torch.int32) >> 16).add_(lowest.numel() // 2))
    return low.add_(unit > boundaries.index_select(0, low.int()))


@functools.cache
def _on(signed: bool, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return, on a device, the map, the upper boundary of each code, and the lowest code of each cell."""
    codes = dynamic_map(signed)
    boundaries = (codes[1:] + codes[:-1]) / 2
    if not signed:
        boundaries[0] = 0.0
    cells = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32)
    first = torch.where(cells < 0, (cells << 16) | 0xFFFF, cells << 16).view(torch.float32)
    lowest = torch.bucketize(first.nan_to_num(0.0), boundaries).to(torch.uint8)
    upper = torch.cat([boundaries, torch.tensor([float("inf")])])
    return codes.to(device), upper.to(device), lowest.to(device)
