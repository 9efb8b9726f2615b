"""Grouped matrix products on tensors without memory, which torch computes for bf16 only."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def grouped_product(a: Tensor, b: Tensor, offs: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
    """Return the result of ``_grouped_mm`` without values.

    Shapes:
        a ``(N, K)``, b ``(G, K, M)`` -> ``(N, M)``; a ``(K, N)``, b ``(N, M)`` in G groups of N ->
        ``(G, K, M)``; a ``(G, N, K)``, b ``(G, K, M)`` -> ``(G, N, M)``; a ``(G, N, K)``, b ``(K, M)`` in
        groups of M -> ``(N, M)``.
    """
    if a.dim() == 2 and b.dim() == 2:
        assert offs is not None
        return a.new_empty(offs.shape[0], a.shape[0], b.shape[1])
    if a.dim() == 3 and b.dim() == 3:
        return a.new_empty(a.shape[0], a.shape[1], b.shape[2])
    rows = a.shape[0] if a.dim() == 2 else a.shape[1]
    return a.new_empty(rows, b.shape[-1])


def grouped_flops(a: Tensor, b: Tensor) -> int:
    """Return the operations of a grouped product, a multiply-add counted as two."""
    if a.dim() == 2 and b.dim() == 2:
        return 2 * a.numel() * b.shape[1]
    return 2 * a.numel() * b.shape[-1] if a.dim() == 2 or b.dim() == 3 else 2 * b.numel() * a.shape[1]
