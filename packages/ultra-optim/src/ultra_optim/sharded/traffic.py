"""Bytes that processes send for one update of a sharded optimizer, by formula."""

from __future__ import annotations

from collections.abc import Iterable

from ultra_optim.sharded.placement import Placement


def bytes_of_update(placements: Iterable[Placement], rank: int) -> int:
    """Return the bytes that a process sends to others for an update of all parameters.

    Of each tensor with an owner, the owner sends the parts of the new weight that others hold. Before that,
    a process that is not the owner sends its part of gradient and weight, unless the owner has them.

    Args:
        placements: where the parameters are updated.
        rank: the process, by its number in their group.
    """
    total = 0
    for one in placements:
        if one.owner is None or one.layout is None:
            continue
        parts = [one.layout.part_numel(r) for r in range(len(one.layout.sizes))]
        elements = sum(parts) - parts[rank] if one.owner == rank else 2 * parts[rank] * one.gathered
        total += elements * one.parameter.element_size()
    return total


def mean_bytes_of_update(owned: int, processes: int, *, gathered: bool) -> float:
    """Return the mean over all processes of :func:`bytes_of_update`.

    It is 3 (R - 1) / R^2 times the bytes of what has an owner where the parameters are divided, and
    (R - 1) / R times where every process holds all of them.

    Args:
        owned: bytes of all tensors that have an owner.
        processes: R.
        gathered: whether the parameters are divided.
    """
    share = (processes - 1) / processes * owned
    return 3 / processes * share if gathered else share
