"""The largest score of every head, over the pairs that attend."""

from __future__ import annotations

import torch
from torch import Tensor

from ultra_blocks.functional.attention import repeat_heads
from ultra_blocks.functional.tile_weights import Problem, grid_of
from ultra_blocks.layout import Layout


@torch.no_grad()
def max_scores(
    q: Tensor, k: Tensor, layout: Layout, *, causal: bool = False, window: int | None = None
) -> Tensor:
    """Return ``max_ij q_i k_j / sqrt(d)`` of every head over the pairs of real tokens that attend.

    The scores of some rows at a time are in memory.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, G, T, d)``, G dividing H.
        layout: who is real, and who belongs together.
        causal: what comes later is hidden.
        window: see :meth:`Layout.attention_mask`.

    Shapes:
        returns ``(H,)``, at least fp32; -inf where no pair attends.
    """
    return _largest(
        q.detach() * q.shape[-1] ** -0.5,
        repeat_heads(k.detach(), q.shape[1]),
        None if layout.dense and window is None else layout.documents,
        None if window is None else layout.positions,
        causal,
        window or 0,
    )


@torch.no_grad()
def max_of_scores(
    scores: Tensor, layout: Layout, *, causal: bool = False, window: int | None = None
) -> Tensor:
    """Return what :func:`max_scores` does from scaled scores ``(B, H, T, T)`` in memory."""
    scores = scores.detach().to(torch.promote_types(scores.dtype, torch.float32))
    if (mask := layout.attention_mask(causal, window)) is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    if layout.padded:  # a padding query sees something, so that no softmax is taken over nothing
        scores = scores.masked_fill(~layout.mask[:, None, :, None], float("-inf"))
    return scores.amax((0, 2, 3))


@torch.library.custom_op("ultra::max_scores", mutates_args=())
def _largest(
    q: Tensor, k: Tensor, documents: Tensor | None, positions: Tensor | None, causal: bool, window: int
) -> Tensor:
    problem = Problem(
        q, k, k, documents, positions, None, None, None, None, None, None, causal, window, 0.0, True, 0.0
    )
    largest = torch.full(q.shape[1:2], float("-inf"), dtype=problem.wide, device=q.device)
    for tile in problem.tiles():
        grid = grid_of(tile, problem.scores(tile)[0])
        if documents is not None:  # padding is one document for the scores
            padding = documents[tile.batch, None, tile.top : tile.bottom, None] < 0
            grid.masked_fill_(padding, float("-inf"))
        some = largest[tile.heads]
        some.copy_(torch.maximum(some, grid.amax((0, 2, 3))))
    return largest


@_largest.register_fake
def _shape(q: Tensor, *_: object) -> Tensor:
    return q.new_empty(q.shape[1:2], dtype=torch.promote_types(q.dtype, torch.float32))
