"""Which part of a tensor each process holds."""

from __future__ import annotations

import itertools
import math
from typing import Any, TypeGuard

import attrs
import torch
import torch.distributed as dist
from torch import Tensor

from ultra_core.errors import UltraError


def is_sharded(tensor: Tensor) -> TypeGuard[Any]:
    """Whether a tensor is a ``DTensor``; importing ``torch.distributed.tensor`` takes long."""
    return hasattr(tensor, "_local_tensor")


@attrs.frozen(eq=False)
class ShardLayout:
    """The parts of one tensor: consecutive slices along one dimension, some of which may be empty.

    Attributes:
        shape: shape of the whole tensor.
        dim: the dimension along which it is divided.
        sizes: size of the slice of each process along ``dim``.
        group: the processes.
    """

    shape: tuple[int, ...]
    dim: int
    sizes: tuple[int, ...]
    group: dist.ProcessGroup

    @classmethod
    def of(cls, tensor: Any) -> ShardLayout:
        """Return the layout of a ``DTensor``.

        Raises:
            UltraError: it is not divided along exactly one dimension, as with tensor parallelism.
        """
        from torch.distributed.tensor import Shard

        divided = [(i, p) for i, p in enumerate(tensor.placements) if not p.is_replicate()]
        if len(divided) != 1 or type(divided[0][1]) is not Shard:
            raise UltraError(
                f"a parameter of shape {tuple(tensor.shape)} is placed as {tuple(tensor.placements)}; "
                "optimizers work on parameters that FSDP2 divides along one dimension (replicas of the "
                "shards are fine). Use FSDP or DDP without tensor parallelism"
            )
        (mesh_dim, placement), shape = divided[0], tuple(tensor.shape)
        mesh = tensor.device_mesh
        count, length = mesh.size(mesh_dim), shape[placement.dim]
        step = -(-length // count)  # as torch.chunk divides
        edges = [min(length, step * i) for i in range(count + 1)]
        sizes = tuple(end - start for start, end in itertools.pairwise(edges))
        return cls(shape, placement.dim, sizes, mesh.get_group(mesh_dim))

    @property
    def numel(self) -> int:
        """Number of elements of the whole tensor."""
        return math.prod(self.shape)

    @property
    def largest(self) -> int:
        """Number of elements of the largest part."""
        return max(map(self.part_numel, range(len(self.sizes))))

    def start(self, rank: int) -> int:
        """Return where the slice of a process of the group starts along ``dim``."""
        return sum(self.sizes[:rank])

    def part_shape(self, rank: int) -> tuple[int, ...]:
        """Return the shape of the part of a process of the group."""
        return (*self.shape[: self.dim], self.sizes[rank], *self.shape[self.dim + 1 :])

    def part_numel(self, rank: int) -> int:
        """Return the number of elements of the part of a process of the group."""
        return math.prod(self.part_shape(rank))

    def part(self, whole: Tensor, rank: int) -> Tensor:
        """Return the part of a process of the group, as a view of the whole tensor."""
        return whole.narrow(self.dim, self.start(rank), self.sizes[rank])


class CopyLayout(ShardLayout):
    """The copies of a tensor that every process has whole: all of it for each but the one that updates it."""

    @classmethod
    def beside(cls, tensor: Tensor, owner: int, group: dist.ProcessGroup) -> CopyLayout:
        """Return the layout of a tensor with at least one dimension that a process of the group updates."""
        shape = tuple(tensor.shape)
        sizes = tuple(0 if rank == owner else shape[0] for rank in range(dist.get_world_size(group)))
        return cls(shape, 0, sizes, group)

    def start(self, rank: int) -> int:
        """Return 0: every copy starts where the tensor does."""
        return 0


def local_part(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor: its part of a ``DTensor``, or the tensor itself."""
    return tensor._local_tensor if is_sharded(tensor) else tensor.detach()


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor whole; every process of a ``DTensor`` must call this, and each gets all of it."""
    if not is_sharded(tensor):
        return tensor.detach()
    found: Tensor = tensor.detach().full_tensor()
    return found


def fill(tensor: Tensor, values: Tensor) -> None:
    """Copy a whole tensor into what this process holds of a tensor; no process waits for another.

    Raises:
        ValueError: the shapes differ.
    """
    if tuple(values.shape) != tuple(tensor.shape):
        raise ValueError(f"shape {tuple(values.shape)} instead of {tuple(tensor.shape)}")
    with torch.no_grad():
        if not is_sharded(tensor):
            tensor.copy_(values)
            return
        layout = ShardLayout.of(tensor)
        tensor._local_tensor.copy_(layout.part(values, dist.get_rank(layout.group)))
