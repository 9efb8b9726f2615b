"""Other orders of the tokens of a batch: without padding, with padding last, and reversed per document."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Segments(NamedTuple):
    """Documents concatenated without padding, as kernels for variable-length batches take them.

    Attributes:
        real: ``(N,)``, indices of the real tokens in the flattened batch.
        cu_seqlens: ``(S + 1,)`` int32, borders of the S documents among the real tokens.
        max_seqlen: length of the longest document.
    """

    real: Tensor
    cu_seqlens: Tensor
    max_seqlen: int


class RealFirst(NamedTuple):
    """Rows with all real tokens first and all padding last, so that neighbours are adjacent.

    Attributes:
        order: ``(B, T)``, gathers such rows; None if the rows already have this order.
        back: ``(B, T)``, undoes it; None likewise.
        mask: ``(B, T)``, the mask of the gathered rows.
        documents: ``(B, T)``, the document ids of the gathered rows; None if every row is one document.
    """

    order: Tensor | None
    back: Tensor | None
    mask: Tensor
    documents: Tensor | None

    def gather(self, x: Tensor) -> Tensor:
        """Move the real tokens of ``(B, T, D)`` to the front."""
        return x if self.order is None else x.gather(1, self.order[..., None].expand_as(x))

    def scatter(self, y: Tensor) -> Tensor:
        """Move the tokens of ``(B, T, D)`` back to their columns."""
        return y if self.back is None else y.gather(1, self.back[..., None].expand_as(y))


def document_starts(mask: Tensor, documents: Tensor) -> Tensor:
    """Return ``(B, T)`` bool, True at the first token of each document.

    Shapes: mask ``(B, T)`` bool; documents ``(B, T)``, -1 at padding.
    """
    highest = documents.cummax(1).values
    return mask & (highest > F.pad(highest[:, :-1], (1, 0), value=-1))


def document_reversal(mask: Tensor, starts: Tensor) -> Tensor:
    """Return the index ``(B, T)`` that reverses the real tokens of each document in place.

    It is the identity at padding, and its own inverse.
    """
    rank = mask.cumsum(1) - 1
    first = torch.where(starts, rank, 0).cummax(1).values
    # the last rank of a document is one less than the next start, seen from the right
    ends = F.pad(starts[:, 1:], (0, 1), value=False)
    ends = torch.where(ends, rank, mask.shape[1] + 1)
    ends[:, -1:] = rank[:, -1:]
    last = ends.flip(1).cummin(1).values.flip(1)
    columns = torch.arange(mask.shape[1], device=mask.device).expand_as(rank)
    real_first = (~mask).to(torch.int8).argsort(dim=1, stable=True)
    mirrored = torch.where(mask, first + last - rank, 0)
    return torch.where(mask, real_first.gather(1, mirrored), columns)


def real_tokens_first(mask: Tensor, documents: Tensor | None, *, in_order: bool) -> RealFirst:
    """Return the order that puts real tokens first.

    Args:
        mask: ``(B, T)`` bool.
        documents: ``(B, T)`` document ids; None: one document per row.
        in_order: no padding precedes a real token, so that nothing has to move.
    """
    if in_order:
        return RealFirst(None, None, mask, documents)
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
    if documents is not None:
        documents = documents.gather(1, order)
    return RealFirst(order, order.argsort(dim=1), mask.gather(1, order), documents)


def segments(mask: Tensor, starts: Tensor) -> Segments:
    """Return the documents of a batch end to end; reads values, which synchronises the device."""
    real = mask.flatten().nonzero().flatten()
    borders = starts.flatten()[real].nonzero().flatten()
    end = torch.full((1,), len(real), device=real.device, dtype=borders.dtype)
    cu_seqlens = torch.cat([borders, end]).to(torch.int32)
    longest = int(cu_seqlens.diff().max()) if len(borders) else 0
    return Segments(real, cu_seqlens, longest)
