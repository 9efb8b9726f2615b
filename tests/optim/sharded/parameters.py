"""Parameters of odd sizes, whole or divided among the processes of a group as FSDP2 divides them."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

import ultra_optim
from support.tensors import normals
from ultra_core import optimizers
from ultra_optim.sharded import ShardedOptimizer

GROUPS: tuple[dict[str, Any], ...] = (
    {"kind": "matrix", "role": "attention", "row_blocks": [[4, 5], []], "shapes": [(9, 7), (7, 5)]},
    {"kind": "expert", "role": "other", "expert_dim": [0], "shapes": [(3, 5, 4)]},
    {"kind": "embedding", "role": "embeddings", "shapes": [(13, 5)]},
    {"kind": "vector", "role": "norms", "decay": False, "weight_decay": 0.0, "shapes": [(5,), (1,)]},
)
MATRICES = 63 + 35 + 60
_meshes: list[Any] = []
"""The mesh of all processes, once it is made."""


class Tensors:
    """Parameters, their gradients, and an optimizer over them.

    Args:
        name: registered name or class of the optimizer.
        sharded: whether the parameters are divided among the processes of this process's group.
        copies: whether every process of the group holds all of them, as with DDP.
        options: of the optimizer.
    """

    def __init__(self, name: Any, *, sharded: bool = False, copies: bool = False, **options: Any) -> None:
        shapes = [shape for group in GROUPS for shape in group["shapes"]]
        self.shapes = shapes
        params = [nn.Parameter(_placed(t, sharded)) for t in normals(shapes, 0, torch.float64)]
        self.params, self.sharded = params, sharded
        rest = iter(params)
        groups = [
            {k: v for k, v in group.items() if k != "shapes"}
            | {"params": [next(rest) for _ in group["shapes"]]}
            for group in GROUPS
        ]
        if isinstance(name, str):
            inner = ultra_optim.create(name, _plain(groups, name), 1e-2, **options)
        else:
            inner = name(params, lr=1e-2, **options)
        replicas = dist.group.WORLD if copies else None
        self.optimizer: Any = ShardedOptimizer(inner, replicas) if sharded or copies else inner

    def backward(self, step: int) -> None:
        """Give all parameters their gradients of a step."""
        for p, g in zip(self.params, normals(self.shapes, step + 1, torch.float64), strict=True):
            p.grad = _placed(g, self.sharded)

    def drive(self, first: int, last: int) -> None:
        """Take some steps."""
        for step in range(first, last):
            self.backward(step)
            self.optimizer.step()
            if getattr(self.optimizer, "curvature_due", False):
                self.optimizer.curvature_step(lambda step=step: self.backward(step) or 3.0)

    def whole(self) -> list[Tensor]:
        """Return the weights whole."""
        return [p.full_tensor().detach() if self.sharded else p.detach() for p in self.params]

    def fill(self, weights: list[Tensor]) -> None:
        """Set the weights."""
        with torch.no_grad():
            for p, w in zip(self.params, weights, strict=True):
                p.copy_(_placed(w, self.sharded))


def _plain(groups: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Leave out what describes matrices where a method has no use for it."""
    needed = optimizers.get(name).traits.matrix or name in ("adam_mini", "lamb", "stable_adamw")
    return (
        groups
        if needed
        else [{k: g[k] for k in g if k in ("params", "role", "weight_decay")} for g in groups]
    )


def _placed(tensor: Tensor, sharded: bool) -> Tensor:
    if not sharded:
        return tensor
    if not _meshes:
        _meshes.append(init_device_mesh("cpu", (dist.get_world_size(),)))
    return distribute_tensor(tensor, _meshes[0], [Shard(0)], src_data_rank=None)
