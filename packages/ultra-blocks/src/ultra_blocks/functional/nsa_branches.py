"""The compressed and the selected branch of native sparse attention, computed for some queries at a time."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ultra_blocks.functional.document_blocks import DocumentBlocks
from ultra_blocks.functional.nsa import Selection, compressed_attention, select_blocks, selected_attention
from ultra_blocks.functional.softcap_attention import softcap_attention

QUERIES = 1024
"""Number of queries whose compressed scores are in memory at a time."""

KeysValues = tuple[Tensor, Tensor]


def compressed_and_selected(
    q: Tensor,
    compressed: KeysValues,
    selected: KeysValues,
    blocks: DocumentBlocks,
    selection: Selection,
    *,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the outputs of the compressed and the selected branch, ``(B, H, L, d)`` each.

    In rows of up to ``count`` blocks, the selected branch attends to all tokens. The scores of long rows are
    recomputed in the backward pass.

    Args:
        q: ``(B, H, L, d)``.
        compressed: keys and values ``(B, G, m, d)`` of the compressed blocks at every stride of the row.
        selected: keys and values ``(B, G, L, d)`` of the tokens.
        blocks: positions of the documents.
        selection: parameters of the selection.
        softcap: ``cap(s) = softcap tanh(s / softcap)``; None: no cap.
    """
    selecting = blocks.places > selection.count * selection.size
    branches = partial(
        _branches,
        compressed=compressed,
        selected=selected,
        blocks=blocks,
        selection=selection,
        softcap=softcap,
        selecting=selecting,
    )
    parts = []
    for begin in range(0, blocks.places, QUERIES):
        here = slice(begin, begin + QUERIES)
        if blocks.places > QUERIES and torch.is_grad_enabled():
            parts.append(
                checkpoint(branches, q[:, :, here], here=here, use_reentrant=False, preserve_rng_state=False)
            )
        else:
            parts.append(branches(q[:, :, here], here=here))
    small = torch.cat([part[0] for part in parts], 2)
    if selecting:
        return small, torch.cat([part[1] for part in parts], 2)
    k, v = selected
    return small, softcap_attention(q, k, v, blocks.layout, causal=selection.causal, softcap=softcap)


def _branches(
    q: Tensor,
    *,
    compressed: KeysValues,
    selected: KeysValues,
    blocks: DocumentBlocks,
    selection: Selection,
    softcap: float | None,
    selecting: bool,
    here: slice,
) -> tuple[Tensor, ...]:
    """Return the outputs of the compressed and, if ``selecting``, the selected branch for some queries."""
    documents, rank = blocks.layout.documents, blocks.rank
    mine, at = documents[:, here, None], rank[:, here]
    allowed = (documents[:, None, :: selection.stride] == mine) & (mine >= 0)
    if selection.causal:
        allowed = allowed & (rank[:, None, :: selection.stride] + selection.window - 1 <= at[..., None])
    small, weights = compressed_attention(q, *compressed, allowed, softcap=softcap)
    if not selecting:
        return (small,)
    admissible = (documents[:, None, :: selection.size] == mine) & (mine >= 0)
    if selection.causal:
        admissible = admissible & (rank[:, None, :: selection.size] <= at[..., None])
    block = rank[:, :: selection.size] // selection.size
    chosen, valid = select_blocks(weights, at, block, admissible, selection)
    last = None
    if selection.causal:
        last = torch.arange(blocks.places, device=q.device)[here].expand_as(at)
    real = blocks.layout.mask
    y = selected_attention(q, *selected, chosen, valid, real, last, selection.size, softcap=softcap)
    return small, y


def selected_tokens(weights: Tensor, here: int, selection: Selection) -> Tensor:
    """Return the mask of tokens 0..here that token ``here`` attends to, ``(B, G, 1, here + 1)``.

    Args:
        weights: ``(B, G, 1, m)`` of the compressed blocks so far.
        here: index of the token in its document.
        selection: parameters of the selection.
    """
    block = torch.arange(here // selection.size + 1, device=weights.device)[None]
    strides = len(block[0]) * selection.size // selection.stride
    weights = F.pad(weights, (0, strides - weights.shape[-1]))
    rank = torch.full_like(block[:, :1], here)
    every = torch.ones_like(block[:, None], dtype=torch.bool)
    chosen, valid = select_blocks(weights, rank, block, every, selection)
    mask = torch.zeros(*weights.shape[:3], len(block[0]), dtype=torch.bool, device=weights.device)
    return mask.scatter(3, chosen, valid).repeat_interleave(selection.size, 3)[..., : here + 1]
