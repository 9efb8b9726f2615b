"""Whole tensors from the parts of all processes, at the process that owns them, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import torch
import torch.distributed as dist
from torch import Tensor

from ultra_optim.sharded.layout import ShardLayout

ROUND = 1 << 25
"""Elements that a process sends at most at a time; buffers are as large."""


@attrs.frozen(eq=False)
class Transfer:
    """One tensor on its way between its parts and its owner.

    Attributes:
        layout: its parts.
        owner: the process of the group that has it whole.
        part: what this process holds.
        whole: the whole tensor; used by the owner only.
    """

    layout: ShardLayout
    owner: int
    part: Tensor
    whole: Tensor


def gather(transfers: Sequence[Transfer]) -> int:
    """Fill the whole tensors at their owners; return the bytes that this process sent to others.

    All processes call this with transfers of the same tensors in the same order.
    """
    return sum(_gather(some) for some in _rounds(transfers))


def scatter(transfers: Sequence[Transfer]) -> int:
    """Fill the parts of all processes from the whole tensors; return the bytes that this process sent."""
    return sum(_scatter(some) for some in _rounds(transfers))


def _gather(transfers: Sequence[Transfer]) -> int:
    group, rank, count = _processes(transfers)
    of_owner = [[t for t in transfers if t.owner == r] for r in range(count)]
    mine = of_owner[rank]
    sent = [t.part.reshape(-1) for ts in of_owner for t in ts]
    to_each = [sum(t.layout.part_numel(rank) for t in ts) for ts in of_owner]
    from_each = [sum(t.layout.part_numel(r) for t in mine) for r in range(count)]
    received = _exchange(transfers[0].part, sent, to_each, from_each, group)
    pieces = received.split([t.layout.part_numel(r) for r in range(count) for t in mine])
    for piece, (r, t) in zip(pieces, ((r, t) for r in range(count) for t in mine), strict=True):
        t.layout.part(t.whole, r).copy_(piece.view(t.layout.part_shape(r)))
    return (sum(to_each) - to_each[rank]) * received.element_size()


def _scatter(transfers: Sequence[Transfer]) -> int:
    group, rank, count = _processes(transfers)
    of_owner = [[t for t in transfers if t.owner == r] for r in range(count)]
    mine = of_owner[rank]
    sent = [t.layout.part(t.whole, r).reshape(-1) for r in range(count) for t in mine]
    to_each = [sum(t.layout.part_numel(r) for t in mine) for r in range(count)]
    from_each = [sum(t.layout.part_numel(rank) for t in ts) for ts in of_owner]
    received = _exchange(transfers[0].part, sent, to_each, from_each, group)
    ordered = [t for ts in of_owner for t in ts]
    pieces = received.split([t.layout.part_numel(rank) for t in ordered])
    for piece, t in zip(pieces, ordered, strict=True):
        t.part.copy_(piece.view(t.part.shape))
    return (sum(to_each) - to_each[rank]) * received.element_size()


def _exchange(
    like: Tensor, sent: list[Tensor], to_each: list[int], from_each: list[int], group: dist.ProcessGroup
) -> Tensor:
    """Send consecutive stretches of the tensors to the processes of the group, and return what they sent."""
    outgoing = torch.cat([like.new_empty(0), *sent])
    received = outgoing.new_empty(sum(from_each))
    dist.all_to_all_single(received, outgoing, from_each, to_each, group=group)
    return received


def _processes(transfers: Sequence[Transfer]) -> tuple[dist.ProcessGroup, int, int]:
    group = transfers[0].layout.group
    return group, dist.get_rank(group), dist.get_world_size(group)


def _rounds(transfers: Sequence[Transfer]) -> Iterator[list[Transfer]]:
    """Yield the transfers by dtype, in lists of which no process sends more than ``ROUND`` or one tensor."""
    by_dtype: dict[torch.dtype, list[Transfer]] = {}
    for transfer in transfers:
        by_dtype.setdefault(transfer.part.dtype, []).append(transfer)
    for same in by_dtype.values():
        some: list[Transfer] = []
        filled = 0
        for transfer in same:
            size = transfer.layout.largest
            if some and filled + size > ROUND:
                yield some
                some, filled = [], 0
            some.append(transfer)
            filled += size
        yield some
