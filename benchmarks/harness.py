"""What every benchmark shares: interleaved rounds, medians, the machine's matmul rate, a table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def matmul_rate(size: int = 1024, seconds: float = 0.5) -> float:
    """Return the fp32 multiply-adds a second of square matrix products on this machine, now."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    a @ b
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        a @ b
        count += 1
    return count * size**3 / (time.perf_counter() - start)


def interleave(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run every side once a round, in turn, and return each side's figures; one unrecorded round first."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for index in range(rounds + 1):
        for name, side in sides.items():
            figure = side()
            if index:
                figures[name].append(figure)
    return figures


def median(values: list[float]) -> float:
    return statistics.median(values)


def spread(values: list[float]) -> str:
    """Return the range of the values as a share of their median."""
    return f"±{100 * (max(values) - min(values)) / 2 / median(values):.0f} %"


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return the rows as a Markdown table with columns of even width."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)
