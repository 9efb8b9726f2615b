"""Rows rearranged so that documents start at multiples of a block size, for block-sparse attention.

Blocks are counted over the real tokens of each document. Padding and other documents of the row then affect
neither which tokens share a block nor which blocks attend to each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ultra_blocks.layout import Layout


@dataclass(frozen=True, eq=False)
class DocumentBlocks:
    """Rows of ``L`` places, with contiguous documents that each start at a multiple of ``align``.

    Attributes:
        layout: layout ``(B, L)`` of the places; empty places are padding.
        rank: ``(B, L)`` int64, index of the token in its document, from 0; arbitrary at empty places.
        starts: ``(B, S)``, first place of each document; at most ``L`` for missing documents.
        lengths: ``(B, S)``, tokens of each document, 0 for missing documents.
        source: ``(B, L)``, column of the token at each place; None: columns and places are the same.
        place: ``(B, T)``, place of each real token; None likewise.
        columns: number of columns T.
    """

    layout: Layout
    rank: Tensor
    starts: Tensor
    lengths: Tensor
    source: Tensor | None
    place: Tensor | None
    columns: int

    @property
    def places(self) -> int:
        """Number of places L."""
        return self.rank.shape[1]

    @property
    def documents(self) -> int:
        """Number of documents S of the row that holds most."""
        return self.starts.shape[1]

    def pack(self, x: Tensor) -> Tensor:
        """Return ``(B, T, D)``, zero at padding, as ``(B, L, D)``, zero at empty places."""
        if self.source is None:
            return F.pad(x, (0, 0, 0, self.places - self.columns)) if self.places > self.columns else x
        return self.layout.zero_padding(take_rows(x, self.source))

    def unpack(self, y: Tensor) -> Tensor:
        """Return ``(B, L, D)`` as ``(B, T, D)``; values at padding are arbitrary."""
        if self.place is None:
            return y[:, : self.columns]
        return take_rows(y, self.place)

    def at(self, places: Tensor) -> Layout:
        """Return the layout ``(B, n)`` of some places ``(B, n)`` only, for position codes."""
        whole = self.layout
        mask, documents, positions = (
            t.gather(1, places) for t in (whole.mask, whole.documents, whole.positions)
        )
        return Layout(mask, documents, positions, padded=True, packed=whole.packed)


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """Return the rows ``(R, n, E)`` of ``(R, L, E)`` with the indices ``index`` ``(R, n)``.

    This is a gather that copies whole rows, and adds whole rows in its gradient: several times as fast.
    """
    first = torch.arange(x.shape[0], device=x.device)[:, None] * x.shape[1]
    return x.flatten(0, 1).index_select(0, (index + first).flatten()).unflatten(0, index.shape)


def document_blocks(layout: Layout, align: int = 1) -> DocumentBlocks:
    """Return the places of a batch, computed once per forward pass.

    For packed documents this reads values, to find the number of places that they need.

    Args:
        layout: layout of the batch.
        align: block size; documents start at its multiples, and L is one.
    """
    made: DocumentBlocks = layout.remember(("document blocks", align), lambda: _make(layout, align))
    return made


def _make(layout: Layout, align: int) -> DocumentBlocks:
    batch, columns = layout.mask.shape
    mask, documents = layout.mask, layout.documents
    device = mask.device
    if layout.packed:
        counted = torch.zeros(batch, columns, dtype=torch.long, device=device)
        counted.scatter_add_(1, documents.clamp(min=0), mask.long())
        blocks = (counted + align - 1) // align
        sizes = torch.stack([blocks.sum(1).max(), documents.max() + 1])
        total, held = (int(n) for n in sizes.tolist())
        lengths, blocks = counted[:, :held], blocks[:, :held]
    else:
        total, held = -(-columns // align), 1
        lengths = mask.sum(1, keepdim=True)
        blocks = (lengths + align - 1) // align
    places = max(total, 1) * align
    starts = (blocks.cumsum(1) - blocks) * align
    row = torch.arange(places, device=device).expand(batch, places)
    if layout.indexed or layout.dense:
        more = (0, places - columns)
        inner = Layout(
            F.pad(mask, more),
            F.pad(documents, more, value=-1),
            row if layout.indexed else F.pad(layout.positions, more),
            padded=layout.padded or places > columns,
            packed=False,
            indexed=layout.indexed,
        )
        return DocumentBlocks(inner, row, starts, lengths, None, None, columns)
    before = F.pad(lengths.cumsum(1), (1, 0))[:, :-1]  # real tokens before each document
    own = documents.clamp(min=0)
    rank = mask.cumsum(1) - 1 - before.gather(1, own)
    place = torch.where(mask, starts.gather(1, own) + rank, places)  # padding is placed beyond the end
    source = torch.full((batch, places + 1), -1, device=device)
    source.scatter_(1, place, torch.arange(columns, device=device).expand(batch, columns))
    filled = source[:, :places] >= 0
    source = source[:, :places].clamp(min=0)
    inner = Layout(
        filled,
        torch.where(filled, documents.gather(1, source), -1),
        torch.where(filled, layout.positions.gather(1, source), 0),
        padded=True,
        packed=layout.packed,
    )
    rank = torch.where(filled, rank.gather(1, source), 0)
    return DocumentBlocks(inner, rank, starts, lengths, source, place.clamp(max=places - 1), columns)
