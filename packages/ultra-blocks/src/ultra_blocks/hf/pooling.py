"""From the states of tokens to one state of each text."""

from __future__ import annotations

import torch
from torch import Tensor

from ultra_blocks.layout import Layout

POOLINGS = ("cls", "mean", "max")


def pool(hidden: Tensor, layout: Layout, how: str = "cls") -> Tensor:
    """Return one state for each row of a batch, or for each document of a packed one.

    Args:
        hidden: ``(B, T, D)``, states of tokens; zeros at padding.
        layout: padding and documents.
        how: ``cls``, the first real token; ``mean`` or ``max`` over the real tokens.

    Shapes:
        returns ``(B, D)``, zeros for a row of padding; ``(S, D)`` for the S documents of packed rows, in
        reading order.

    Raises:
        ValueError: there is no such pooling.
    """
    if how not in POOLINGS:
        raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}; given {how!r}")
    if layout.packed:
        return _pooled_documents(hidden, layout, how)
    if not hidden.shape[1]:
        return hidden.sum(1)  # zeros, as for a row of padding
    mask = layout.mask[..., None]
    if how == "cls":
        if layout.dense:
            return hidden[:, 0]
        rows = torch.arange(hidden.shape[0], device=hidden.device)
        return hidden[rows, layout.mask.int().argmax(1)]
    if how == "mean":
        return torch.where(mask, hidden, 0).sum(1) / mask.sum(1).clamp(min=1)
    largest = hidden.masked_fill(~mask, float("-inf")).amax(1)
    return torch.where(mask.any(1), largest, 0)


def _pooled_documents(hidden: Tensor, layout: Layout, how: str) -> Tensor:
    real, borders, _ = layout.segments
    states = hidden.flatten(0, 1)[real]
    if how == "cls":
        return states[borders[:-1].long()]
    lengths = borders.diff().long()
    document = torch.arange(len(lengths), device=real.device).repeat_interleave(lengths)
    out = states.new_zeros(len(lengths), states.shape[1])
    if how == "mean":
        return out.index_add(0, document, states) / lengths[:, None]
    index = document[:, None].expand_as(states)
    return out.scatter_reduce(0, index, states, "amax", include_self=False)
