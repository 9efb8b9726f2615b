"""Attention inside a band around the diagonal, in time and memory linear in the length."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ultra_blocks.functional.document_blocks import DocumentBlocks
from ultra_blocks.functional.softcap_attention import masked_softcap_attention

SMALLEST_CHUNK = 16
"""Below that a chunk is too little work for a matrix product."""


def band_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    blocks: DocumentBlocks,
    *,
    back: int,
    ahead: int,
    leading: int = 0,
    softcap: float | None = None,
) -> Tensor:
    """Return ``softmax(cap(q k^T / sqrt(d))) v`` over keys ``-ahead <= i - j <= back`` of the same document.

    The row is cut into chunks of half the band; a chunk of queries is multiplied with its own keys and with
    those of the chunks that the band reaches.

    Args:
        q: ``(B, H, L, d)``.
        k: ``(B, G, L, d)``, G dividing H.
        v: ``(B, G, L, d)``.
        blocks: where the documents are.
        back: tokens before a query that it sees.
        ahead: tokens after a query that it sees; 0 is the causal form.
        leading: first tokens of each document that all queries after them see.
        softcap: ``cap(s) = softcap tanh(s / softcap)``; None: no cap.

    Shapes:
        returns ``(B, H, L, d)``; what stands at empty places is of no use, but finite.
    """
    batch, _, length, _ = q.shape
    chunks = Chunks.of(length, back, ahead)
    far = None
    if leading and chunks.number > 1:
        far = blocks.layout.remember(
            ("far", chunks, leading), lambda: _leading_places(blocks, chunks, leading)
        )
    mask = blocks.layout.remember(
        ("band", back, ahead, leading),
        lambda: _visible(blocks, chunks, far, back=back, ahead=ahead, leading=leading),
    )
    keys, values = (_seen_by_chunks(x, chunks, far) for x in (k, v))
    queries = chunks.cut(q).transpose(1, 2).flatten(0, 1)  # (B n, H, C, d)
    y = masked_softcap_attention(queries, keys, values, mask, softcap=softcap)
    return y.unflatten(0, (batch, chunks.number)).transpose(1, 2).flatten(2, 3)[:, :, :length]


class Chunks(NamedTuple):
    """A row cut into ``number`` chunks of ``size``; each reads ``before`` chunks back and ``after`` ahead."""

    number: int
    size: int
    before: int
    after: int

    @classmethod
    def of(cls, length: int, back: int, ahead: int) -> Chunks:
        """Return the chunks of a row of ``length`` places under a band."""
        size = min(max((back + ahead + 1) // 2, SMALLEST_CHUNK), length)
        number = -(-length // size)
        before, after = (min(-(-reach // size), number - 1) for reach in (back, ahead))
        return cls(number, size, before, after)

    def cut(self, x: Tensor, fill: int = 0) -> Tensor:
        """Return ``(B, H, L, d)`` as ``(B, H, n, C, d)``, ``fill`` making up the last chunk."""
        missing = self.number * self.size - x.shape[2]
        x = F.pad(x, (0, 0, 0, missing), value=fill) if missing else x
        return x.unflatten(2, (self.number, self.size))

    def near(self, x: Tensor, fill: int = 0) -> Tensor:
        """Return ``(B, H, L, d)`` as ``(B, H, n, K, d)``: each chunk with the chunks that it reads."""
        x = F.pad(self.cut(x, fill), (0, 0, 0, 0, self.before, self.after), value=fill)
        shifts = range(self.before + self.after + 1)
        return torch.cat([x[:, :, shift : shift + self.number] for shift in shifts], 3)


def _seen_by_chunks(x: Tensor, chunks: Chunks, far: Tensor | None) -> Tensor:
    """Return the keys or values that each chunk reads ``(B n, G, K + g, d)``."""
    seen = chunks.near(x).transpose(1, 2)
    if far is not None:
        index = far.flatten(1)[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[-1])
        leading = x.gather(2, index).unflatten(2, far.shape[1:])
        seen = torch.cat([seen, leading.transpose(1, 2)], 3)
    return seen.flatten(0, 1)


def _leading_places(blocks: DocumentBlocks, chunks: Chunks, leading: int) -> Tensor:
    """Return the places ``(B, n, g)`` of the first tokens of the document that enters each chunk.

    A document that begins inside the chunks that a chunk reads has its first tokens there; only the one that
    is already under way at the chunk's first place can have them elsewhere.
    """
    first = torch.arange(chunks.number, device=blocks.rank.device) * chunks.size
    start = first - blocks.rank[:, first]
    offsets = torch.arange(leading, device=first.device)
    return (start[..., None] + offsets).clamp(max=blocks.places - 1)


def _visible(
    blocks: DocumentBlocks, chunks: Chunks, far: Tensor | None, *, back: int, ahead: int, leading: int
) -> Tensor:
    """Return which keys each query may see, ``(B n, 1, C, K + g)``; empty places see themselves."""
    place = torch.arange(blocks.places, device=blocks.rank.device).expand_as(blocks.rank)
    known = torch.stack([blocks.layout.documents, blocks.rank, place], -1)[:, None]
    mine, theirs = chunks.cut(known, -1)[:, 0], chunks.near(known, -1)[:, 0]
    document, _, here = (t[..., None] for t in mine.unbind(-1))  # (B, n, C, 1)
    document_j, rank_j, there = (t[:, :, None] for t in theirs.unbind(-1))  # (B, n, 1, K)
    distance = here - there
    close = (distance <= back) & (distance >= -ahead)
    if leading:
        close |= (rank_j < leading) & (distance >= 0)
    seen = close & (document == document_j) & (document >= 0)
    seen |= (document < 0) & (distance == 0)
    if far is not None:
        begins = (torch.arange(chunks.number, device=far.device) - chunks.before) * chunks.size
        owner = blocks.layout.documents.gather(1, far.flatten(1)).view_as(far)[:, :, None]
        outside = (far < begins[:, None])[:, :, None]
        seen = torch.cat([seen, outside & (owner == document) & (document >= 0)], -1)
    return seen.flatten(0, 1)[:, None]
