"""Bytes that processes send for one update of a sharded optimizer, by formula."""

from __future__ import annotations

from collections.abc import Iterable

from ultra_optim.sharded.placement import Placement


def bytes_of_update(placements: Iterable[Placement], rank: int) -> int:
    """Return the bytes that a process sends to others for an update of all parameters.

    Of each tensor with an owner, a process that is not the owner sends its part of gradient and weight, and
    the owner sends the other parts of the new weight.

    Args:
        placements: where the parameters are updated.
        rank: the process, by its number in their group.
    """
    total = 0
    for one in placements:
        if one.owner is None or one.layout is None:
            continue
        part = one.layout.part_numel(rank)
        elements = one.layout.numel - part if one.owner == rank else 2 * part
        total += elements * one.parameter.element_size()
    return total


def mean_bytes_of_update(elements: int, processes: int, element_size: int = 4) -> float:
    """Return the mean over all processes of :func:`bytes_of_update`, 3 (R - 1) / R^2 times their bytes.

    Args:
        elements: elements of all tensors that have an owner.
        processes: R.
        element_size: bytes of an element.
    """
    return 3 * (processes - 1) / processes**2 * elements * element_size
