"""The largest attention score of every head, over the pairs of tokens that attend to each other."""

from __future__ import annotations

import torch
from torch import Tensor

from ultra_blocks.functional.attention import repeat_heads
from ultra_blocks.functional.tile_scores import TileScores, TileSpec, by_head
from ultra_blocks.layout import Layout


@torch.no_grad()
def max_scores(
    q: Tensor, k: Tensor, layout: Layout, *, causal: bool = False, window: int | None = None
) -> Tensor:
    """Return ``max_ij q_i k_j / sqrt(d)`` of every head over pairs of real tokens that attend to each other.

    Only the scores of some rows at a time are in memory.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, G, T, d)``, G dividing H.
        layout: padding and documents of the batch.
        causal: mask later keys.
        window: width of local attention, see :meth:`Layout.attention_mask`.

    Shapes:
        returns ``(H,)``, at least fp32; -inf if there is no such pair.
    """
    return _max_scores(
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
    """Return the same as :func:`max_scores` for scaled scores ``(B, H, T, T)`` in memory."""
    scores = scores.detach().to(torch.promote_types(scores.dtype, torch.float32))
    if (mask := layout.attention_mask(causal, window)) is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    if layout.padded:  # the mask lets padding queries attend to something, to avoid an empty softmax
        scores = scores.masked_fill(~layout.mask[:, None, :, None], float("-inf"))
    return scores.amax((0, 2, 3))


@torch.library.custom_op("ultra::max_scores", mutates_args=())
def _max_scores(
    q: Tensor, k: Tensor, documents: Tensor | None, positions: Tensor | None, causal: bool, window: int
) -> Tensor:
    spec = TileSpec(q, k, k, documents=documents, positions=positions, causal=causal, window=window)
    tiles = TileScores(spec)
    largest = torch.full(q.shape[1:2], float("-inf"), dtype=tiles.wide, device=q.device)
    for tile in tiles.tiles():
        grid = by_head(tile, tiles.scores(tile)[0])
        if documents is not None:  # all padding shares one document id, so it must be masked here
            padding = documents[tile.batch, None, tile.top : tile.bottom, None] < 0
            grid.masked_fill_(padding, float("-inf"))
        some = largest[tile.heads]
        some.copy_(torch.maximum(some, grid.amax((0, 2, 3))))
    return largest


@_max_scores.register_fake
def _shape(q: Tensor, *_: object) -> Tensor:
    return q.new_empty(q.shape[1:2], dtype=torch.promote_types(q.dtype, torch.float32))
