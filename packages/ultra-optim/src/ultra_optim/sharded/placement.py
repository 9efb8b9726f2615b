"""Which process updates what: every process its parts, or one process the whole tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from ultra_core.errors import UltraError
from ultra_optim.contract.traits import MATRIX_KINDS, traits_of
from ultra_optim.sharded.layout import CopyLayout, ShardLayout, is_sharded

TORCH_ELEMENTWISE: frozenset[type[Optimizer]] = frozenset(
    {
        torch.optim.ASGD,
        torch.optim.Adadelta,
        torch.optim.Adagrad,
        torch.optim.Adam,
        torch.optim.AdamW,
        torch.optim.Adamax,
        torch.optim.NAdam,
        torch.optim.RAdam,
        torch.optim.RMSprop,
        torch.optim.Rprop,
        torch.optim.SGD,
    }
)
"""Optimizers of torch, which have no traits, that treat every element by itself."""


@attrs.frozen(eq=False)
class Placement:
    """Where one parameter is updated.

    Attributes:
        parameter: as the model has it.
        layout: its parts; None for a tensor that every process holds and updates whole.
        owner: the process of the group that updates the whole tensor; None where each updates what it holds.
    """

    parameter: Tensor
    layout: ShardLayout | None
    owner: int | None

    @property
    def parts(self) -> ShardLayout:
        """The layout of a parameter that is divided."""
        assert self.layout is not None
        return self.layout

    @property
    def gathered(self) -> bool:
        """Whether the owner needs gradient and weights of the other processes."""
        return self.owner is not None and not isinstance(self.layout, CopyLayout)


def place_copies(optimizer: Optimizer, group: dist.ProcessGroup) -> list[list[Placement]]:
    """Return where every parameter is updated if all processes hold all of them; the same on every process.

    Matrices are dealt out as :func:`place` does it; every process updates all else.
    """
    matrices = [p for g in optimizer.param_groups for p in g["params"] if is_worth_an_owner(optimizer, g)]
    owners = _dealt(matrices, dist.get_world_size(group))
    layouts = {p: CopyLayout.beside(p, owner, group) for p, owner in owners.items()}
    return _placements(optimizer, layouts, owners)


def is_worth_an_owner(optimizer: Optimizer, group: Mapping[str, Any]) -> bool:
    """Whether updating the parameters of a group takes longer than receiving them from another process.

    It does for the matrices of matrix methods (trait ``matrix``). Methods whose update depends on all
    parameters, or that have a second set of weights, are left to every process.
    """
    traits = traits_of(optimizer)
    alone = traits.common_norm or traits.eval_weights or hasattr(optimizer, "sum_over_processes")
    return traits.matrix and not alone and group["kind"] in MATRIX_KINDS


def place(optimizer: Optimizer) -> list[list[Placement]]:
    """Return where every parameter of every group is updated; the same on every process.

    Tensors that must stay whole are dealt out by size, the largest first, each to the process that has the
    fewest elements so far; matrices of one shape are thereby spread evenly, and each process computes its
    share of them in one batch. An optimizer with a norm over all parameters (trait ``common_norm``) and no
    ``sum_over_processes`` runs whole on one process.

    Raises:
        UltraError: parameters are divided among different groups of processes, or not as FSDP2 does it; or
            some are not divided, and the optimizer adds up over all of them.
    """
    layouts = {p: ShardLayout.of(p) for g in optimizer.param_groups for p in g["params"] if is_sharded(p)}
    group = common_group(layouts.values())
    alone = traits_of(optimizer).common_norm and not hasattr(optimizer, "sum_over_processes")
    sums = alone or hasattr(optimizer, "sum_over_processes")
    if sums and any(p not in layouts for g in optimizer.param_groups for p in g["params"]):
        raise UltraError(
            f"{type(optimizer).__name__} adds up over all parameters, and some of them are not sharded, as "
            "those of a loss beside the model; shard these too, freeze them, or choose adamw or muon"
        )
    undivided = [
        p
        for g in optimizer.param_groups
        for p in g["params"]
        if p in layouts and (alone or not acts_by_element(optimizer, g))
    ]
    return _placements(optimizer, layouts, _dealt(undivided, 1 if alone else dist.get_world_size(group)))


def _dealt(tensors: Sequence[Tensor], processes: int) -> dict[Tensor, int]:
    """Return the owner of each tensor."""
    loads = [0] * processes
    owners: dict[Tensor, int] = {}
    for p in sorted(tensors, key=lambda p: -p.numel()):
        owners[p] = loads.index(min(loads))
        loads[owners[p]] += p.numel()
    return owners


def _placements(
    optimizer: Optimizer, layouts: Mapping[Tensor, ShardLayout], owners: Mapping[Tensor, int]
) -> list[list[Placement]]:
    return [
        [Placement(p, layouts.get(p), owners.get(p)) for p in g["params"]] for g in optimizer.param_groups
    ]


def common_group(layouts: Any) -> dist.ProcessGroup:
    """Return the processes among which all parameters are divided.

    Raises:
        UltraError: there are several groups of them.
    """
    groups = {layout.group for layout in layouts}
    if len(groups) != 1:
        raise UltraError(
            f"parameters are divided among {len(groups)} groups of processes; an optimizer works on one. "
            "Shard all layers over the same mesh"
        )
    return groups.pop()


def acts_by_element(optimizer: Optimizer, group: Mapping[str, Any]) -> bool:
    """Whether the parameters of a group may be updated part by part."""
    decide = getattr(optimizer, "acts_by_element", None)
    if decide is not None:
        return bool(decide(group))
    return traits_of(optimizer).elementwise or type(optimizer) in TORCH_ELEMENTWISE
