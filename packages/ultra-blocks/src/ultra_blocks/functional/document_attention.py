"""Attention of a few queries per document over the whole document."""

from __future__ import annotations

import torch
from torch import Tensor

from ultra_blocks.functional.attention import soft_capped
from ultra_blocks.functional.document_blocks import DocumentBlocks
from ultra_blocks.functional.softcap_attention import masked_softcap_attention
from ultra_blocks.layout.masks import key_mask


def document_attention(
    q: Tensor, k: Tensor, v: Tensor, blocks: DocumentBlocks, size: int, *, softcap: float | None = None
) -> Tensor:
    """Return ``softmax(cap(q k^T / sqrt(d))) v`` of Q queries per document over its real tokens.

    In packed rows, the partial results of the blocks of a document are combined by their softmax statistics,
    so that the cost is Q times the number of places, whatever the number of documents.

    Args:
        q: ``(B, H, S, Q, d)``; queries of missing documents must be finite.
        k: ``(B, H, L, d)``.
        v: ``(B, H, L, d)``.
        blocks: positions of the documents, each of which starts at a multiple of ``size``.
        size: places of a block; it divides L if there is more than one document.
        softcap: ``cap(s) = softcap tanh(s / softcap)``; None: no cap.

    Shapes:
        returns ``(B, H, S, Q, d)``.
    """
    layout = blocks.layout
    if blocks.documents == 1:
        mask = key_mask(layout.mask) if layout.padded else None
        return masked_softcap_attention(q.squeeze(2), k, v, mask, softcap=softcap).unsqueeze(2)
    wide = torch.promote_types(v.dtype, torch.float32)
    real = layout.mask.unflatten(1, (-1, size))[:, None, :, None]  # (B, 1, n, 1, size)
    owner = layout.documents[:, ::size].clamp(
        min=0
    )  # the weights of an empty block are 0, whatever its owner
    owner = owner[:, None, :, None].expand(-1, q.shape[1], -1, q.shape[3])  # (B, H, n, Q)
    k, v = k.unflatten(2, (-1, size)), v.unflatten(2, (-1, size))
    queries = q.gather(2, owner[..., None].expand(*owner.shape, q.shape[-1]))
    scores = ((queries * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).to(wide)
    scores = soft_capped(scores, softcap).masked_fill(~real, torch.finfo(wide).min)
    top = scores.detach().amax(-1)
    highest = top.new_full(q.shape[:-1], torch.finfo(wide).min).scatter_reduce(2, owner, top, "amax")
    weights = (scores - highest.gather(2, owner)[..., None]).exp() * real
    total = weights.new_zeros(q.shape[:-1]).scatter_add(2, owner, weights.sum(-1))
    read = (weights.to(v.dtype) @ v).to(wide)
    summed = read.new_zeros(q.shape).scatter_add(2, owner[..., None].expand_as(read), read)
    return (summed / total.clamp(min=torch.finfo(wide).tiny)[..., None]).to(v.dtype)
