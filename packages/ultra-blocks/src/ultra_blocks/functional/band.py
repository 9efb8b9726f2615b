"""Sliding-window attention, a band around the diagonal, in time and memory linear in the length."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ultra_blocks.functional.document_blocks import DocumentBlocks
from ultra_blocks.functional.softcap_attention import masked_softcap_attention

SMALLEST_CHUNK = 16
"""Minimum chunk size; smaller chunks are too little work for a matrix product."""


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

    The row is divided into chunks of half the band; a chunk of queries is multiplied with its own keys and
    those of the chunks that the band reaches.

    Args:
        q: ``(B, H, L, d)``.
        k: ``(B, G, L, d)``, G dividing H.
        v: ``(B, G, L, d)``.
        blocks: positions of the documents.
        back: number of tokens before a query that it attends to.
        ahead: number of tokens after a query that it attends to; 0 is the causal form.
        leading: number of first tokens of each document that all later queries attend to.
        softcap: ``cap(s) = softcap tanh(s / softcap)``; None: no cap.

    Shapes:
        returns ``(B, H, L, d)``; values at empty places are meaningless but finite.
    """
    batch, _, length, _ = q.shape
    chunks = BandChunks.of(length, back, ahead)
    far = None
    if leading and chunks.number > 1:
        far = blocks.layout.remember(
            ("far", chunks, leading), lambda: _leading_places(blocks, chunks, leading)
        )
    mask = blocks.layout.remember(
        ("band", back, ahead, leading),
        lambda: _visible(blocks, chunks, far, back=back, ahead=ahead, leading=leading),
    )
    keys, values = (_reached(x, chunks, far) for x in (k, v))
    queries = chunks.cut(q).transpose(1, 2).flatten(0, 1)  # (B n, H, C, d)
    y = masked_softcap_attention(queries, keys, values, mask, softcap=softcap)
    return y.unflatten(0, (batch, chunks.number)).transpose(1, 2).flatten(2, 3)[:, :, :length]


class BandChunks(NamedTuple):
    """A row divided into ``number`` chunks of ``size``; each reaches ``before`` and ``after`` others."""

    number: int
    size: int
    before: int
    after: int

    @classmethod
    def of(cls, length: int, back: int, ahead: int) -> BandChunks:
        """Return the chunks of a row of ``length`` places for a band."""
        size = min(max((back + ahead + 1) // 2, SMALLEST_CHUNK), length)
        number = -(-length // size)
        before, after = (min(-(-reach // size), number - 1) for reach in (back, ahead))
        return cls(number, size, before, after)

    def cut(self, x: Tensor, fill: int = 0) -> Tensor:
        """Return ``(B, H, L, d)`` as chunks ``(B, H, n, C, d)``, the last one padded with ``fill``."""
        missing = self.number * self.size - x.shape[2]
        x = F.pad(x, (0, 0, 0, missing), value=fill) if missing else x
        return x.unflatten(2, (self.number, self.size))

    def near(self, x: Tensor, fill: int = 0) -> Tensor:
        """Return ``(B, H, L, d)`` as ``(B, H, n, K, d)``: each chunk with the chunks that it reaches."""
        x = F.pad(self.cut(x, fill), (0, 0, 0, 0, self.before, self.after), value=fill)
        shifts = range(self.before + self.after + 1)
        return torch.cat([x[:, :, shift : shift + self.number] for shift in shifts], 3)


def _reached(x: Tensor, chunks: BandChunks, far: Tensor | None) -> Tensor:
    """Return the keys or values that each chunk may attend to, ``(B n, G, K + g, d)``."""
    reached = chunks.near(x).transpose(1, 2)
    if far is not None:
        index = far.flatten(1)[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[-1])
        leading = x.gather(2, index).unflatten(2, far.shape[1:])
        reached = torch.cat([reached, leading.transpose(1, 2)], 3)
    return reached.flatten(0, 1)


def _leading_places(blocks: DocumentBlocks, chunks: BandChunks, leading: int) -> Tensor:
    """Return the places ``(B, n, g)`` of the first tokens of the document at the start of each chunk.

    Only this document can have its first tokens outside of the chunks that a chunk reaches.
    """
    first = torch.arange(chunks.number, device=blocks.rank.device) * chunks.size
    start = first - blocks.rank[:, first]
    offsets = torch.arange(leading, device=first.device)
    return (start[..., None] + offsets).clamp(max=blocks.places - 1)


def _visible(
    blocks: DocumentBlocks, chunks: BandChunks, far: Tensor | None, *, back: int, ahead: int, leading: int
) -> Tensor:
    """Return the mask ``(B n, 1, C, K + g)`` of keys for each query; empty places attend to themselves."""
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
