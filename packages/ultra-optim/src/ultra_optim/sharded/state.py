"""State dicts of one process from those of processes that each have a part of the state, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ultra_optim.sharded.layout import ShardLayout, local_part
from ultra_optim.sharded.placement import Placement


def whole_state(
    local: Mapping[str, Any], placements: Sequence[Placement], group: dist.ProcessGroup
) -> dict[str, Any]:
    """Collect a state dict at the first process of a group; all processes call this together.

    Tensors travel one at a time and end in the memory of the CPU, so that a GPU holds one of them at most.

    Args:
        local: the state dict of the optimizer of this process, over what it updates.
        placements: where the parameters are updated, in the order of the state dict.
        group: the processes.

    Returns:
        the state dict that one process would have; without state on the other processes.
    """
    rank, count = dist.get_rank(group), dist.get_world_size(group)
    described: list[Any] = [None] * count
    dist.all_gather_object(described, {k: _described(v) for k, v in local["state"].items()}, group=group)
    state: dict[Any, dict[str, Any]] = {}
    for key, one in enumerate(placements):
        sources = [r for r in range(count) if described[r].get(key)]
        if not sources:
            continue
        source = sources[0]
        entry = {}
        for name, (value, tensor) in described[source][key].items():
            if tensor is None:
                entry[name] = value
                continue
            own = local["state"].get(key, {}).get(name)
            shape, dtype = tensor
            parts = [source]
            if _is_part(one, shape, source):
                parts = [r for r in range(count) if one.layout is not None and one.layout.part_numel(r)]
            pieces = [
                _sent(
                    own,
                    one.layout.part_shape(r) if len(parts) > 1 and one.layout else shape,
                    dtype,
                    r,
                    one,
                    group,
                )
                for r in parts
            ]
            if rank == 0:
                entry[name] = pieces[0] if len(pieces) == 1 else torch.cat(pieces, one.parts.dim)
        state[key] = entry
    return {**local, "state": state if rank == 0 else {}}


def own_state(whole: Mapping[str, Any], placements: Sequence[Placement], rank: int) -> dict[str, Any]:
    """Return what a process of the group takes from the state dict of one process, as copies.

    Args:
        whole: the state dict.
        placements: where the parameters are updated, in the order of the state dict.
        rank: the process.
    """
    state = {}
    for key, entry in whole["state"].items():
        one = placements[key] if type(key) is int and key < len(placements) else None
        if one is None or one.layout is None or one.owner == rank:
            state[key] = {name: v.clone() if isinstance(v, Tensor) else v for name, v in entry.items()}
        elif one.owner is None and one.layout.part_numel(rank):
            state[key] = {name: _part(value, one.layout, rank) for name, value in entry.items()}
    return {**whole, "state": state}


def _part(value: Any, layout: ShardLayout, rank: int) -> Any:
    if isinstance(value, Tensor) and value.ndim and tuple(value.shape) == layout.shape:
        return layout.part(value, rank).clone()
    return value.clone() if isinstance(value, Tensor) else value


def _described(entry: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return (value, None) for each number, and (None, (shape, dtype)) for each tensor."""
    return {
        name: (None, (tuple(v.shape), v.dtype)) if isinstance(v, Tensor) else (v, None)
        for name, v in entry.items()
    }


def _is_part(one: Placement, shape: tuple[int, ...], rank: int) -> bool:
    """Whether a state tensor of this shape is the part of one that has the shape of the parameter."""
    if one.owner is not None or one.layout is None or not shape:
        return False
    return shape == one.layout.part_shape(rank)


def _sent(
    own: Any,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    source: int,
    one: Placement,
    group: dist.ProcessGroup,
) -> Tensor:
    """Return a tensor of a process at the first one, on the CPU; elsewhere the result has no meaning."""
    rank = dist.get_rank(group)
    if source == 0:
        return own.cpu() if rank == 0 else torch.empty(0)
    device = local_part(one.parameter).device
    if rank == source:
        dist.send(own.to(device).contiguous(), dist.get_global_rank(group, 0), group=group)
    if rank != 0:
        return torch.empty(0)
    received = torch.empty(shape, dtype=dtype, device=device)
    dist.recv(received, dist.get_global_rank(group, source), group=group)
    return received.cpu()
