"""Running a function on each document of a batch, without the padding and the documents beside it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ultra_blocks.layout import Layout, check_layout

__all__ = ["by_document"]


def by_document(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, layout: Layout | None) -> Tensor:
    """Apply a function of padded rows to every document of a batch, each in a row of its own.

    It makes a block exact for padding anywhere and for packed rows, if the function is exact for padding on
    the right::

        def forward(self, x, layout=None):
            return by_document(self.attend, x, layout)

        def attend(self, x, mask):
            return self.attention(x, x, x, key_padding_mask=~mask, need_weights=False)[0]

    The function is not called for a batch without a real token. It reads values of the layout, which
    synchronises an accelerator once per batch.

    Args:
        function: takes the documents ``(S, L, D)`` in contiguous memory, padded with zeros on the right, and
            the mask ``(S, L)``, True at real tokens, of which every row has at least one; returns
            ``(S, L, D)``, whose values at padding are dropped.
        x: ``(B, T, D)``.
        layout: real tokens and documents of the batch; None: every row is one document.

    Returns:
        ``(B, T, D)``, zero at padding.

    Raises:
        ValueError: the layout belongs to another batch.
    """
    check_layout(x, layout)
    if not x.numel():
        return x
    if layout is None or layout.dense:
        return function(x.contiguous(), torch.ones(x.shape[:2], dtype=torch.bool, device=x.device))
    real, borders, longest = layout.segments
    if not len(real):
        return torch.zeros_like(x)
    lengths = borders.diff().long()
    mask = torch.arange(longest, device=x.device) < lengths[:, None]
    rows = x.new_zeros(*mask.shape, x.shape[2])
    rows[mask] = x.flatten(0, 1)[real]
    y = function(rows, mask)
    placed = y.new_zeros(x.shape[0] * x.shape[1], y.shape[2])
    placed[real] = y[mask]
    return placed.unflatten(0, x.shape[:2])
