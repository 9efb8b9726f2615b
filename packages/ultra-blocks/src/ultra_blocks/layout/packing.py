"""The documents of a padded batch in fewer rows, for layers whose cost grows with the number of places."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ultra_blocks.layout.batch import Layout


@dataclass(frozen=True, eq=False)
class PackedRows:
    """Rows of ``L`` places, each with one or more documents of a batch ``(B, T)``.

    Attributes:
        layout: ``(R, L)``, of the packed rows.
        real: ``(N,)``, indices of the real tokens in the flattened batch.
        place: ``(N,)``, their indices in the flattened packed rows.
        shape: B and T.
    """

    layout: Layout
    real: Tensor
    place: Tensor
    shape: tuple[int, int]

    def pack(self, x: Tensor) -> Tensor:
        """Return ``(B, T, ...)`` as ``(R, L, ...)``, zero at empty places."""
        rows = x.new_zeros(self.layout.mask.numel(), *x.shape[2:])
        return rows.index_copy(0, self.place, x.flatten(0, 1)[self.real]).unflatten(0, self.layout.mask.shape)

    def unpack(self, y: Tensor) -> Tensor:
        """Return ``(R, L, ...)`` as ``(B, T, ...)``, zero at padding."""
        batch = y.new_zeros(self.shape[0] * self.shape[1], *y.shape[2:])
        return batch.index_copy(0, self.real, y.flatten(0, 1)[self.place]).unflatten(0, self.shape)


def pack_documents(layout: Layout, *, at_most: float = 1.0) -> PackedRows | None:
    """Put the documents of a batch into rows as long as the longest of them.

    Documents are placed by best fit, longest first. Reads values, which synchronises an accelerator once.

    Args:
        layout: padding and documents of the batch.
        at_most: None is returned if the rows have more places than this share of those of the batch.
    """
    real, borders, longest = layout.segments
    lengths = borders.diff().tolist()
    rows, starts = _best_fit(lengths, longest)
    if not lengths or rows * longest > at_most * layout.mask.numel():
        return None
    device = real.device
    sizes = borders.diff().long()
    first = torch.tensor(starts, device=device) - borders[:-1].long()
    place = torch.arange(len(real), device=device) + first.repeat_interleave(sizes)
    mask = torch.zeros(rows * longest, dtype=torch.bool, device=device)
    documents = torch.zeros_like(mask, dtype=torch.int64)
    positions = torch.zeros_like(documents)
    mask[place] = True
    documents[place] = torch.tensor(starts, device=device).repeat_interleave(sizes)  # grows along a row
    positions[place] = layout.positions.flatten()[real]
    shape = (rows, longest)
    packed = Layout.from_mask(mask.view(shape), documents.view(shape), positions.view(shape))
    return PackedRows(packed, real, place, (layout.mask.shape[0], layout.mask.shape[1]))


def _best_fit(lengths: Sequence[int], capacity: int) -> tuple[int, list[int]]:
    """Return the number of rows, and the first place of every document in the flattened rows."""
    starts = [0] * len(lengths)
    room: list[tuple[int, int]] = []  # of every row that is not full, smallest first: free places, row
    rows = 0
    for document in sorted(range(len(lengths)), key=lambda d: -lengths[d]):
        length = lengths[document]
        at = bisect_left(room, (length, 0))
        if at == len(room):
            free, row = capacity, rows
            rows += 1
        else:
            free, row = room.pop(at)
        starts[document] = row * capacity + capacity - free
        if free > length:
            insort(room, (free - length, row))
    return rows, starts
