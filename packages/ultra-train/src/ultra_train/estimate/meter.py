"""Adds up the memory that live tensors would take, and the operations of matrix products."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree
from torch.utils.flop_counter import flop_registry

from ultra_train.estimate.grouped_products import grouped_flops

SCRATCH = {
    torch.ops.aten._linalg_eigh: 2.1,
    torch.ops.aten._linalg_svd: 1.4,
    torch.ops.aten.linalg_qr: 0.4,
}
"""Memory that factorisations allocate beside their results, in multiples of their argument, as measured."""


class Meter:
    """Knows every storage that is alive, by weak references; views count once.

    Args:
        granularity: bytes to which the allocator of the device rounds a tensor up.

    Attributes:
        held: bytes of all live tensors.
        peak: the largest ``held`` since :meth:`start_peak`.
        flops: operations of matrix products and attention so far, a multiply-add counted as two.
    """

    def __init__(self, granularity: int = 64) -> None:
        self.granularity = granularity
        self.held = self.peak = 0
        self.flops = 0
        self._live: dict[int, tuple[int, int]] = {}

    def hold(self, tensor: Tensor) -> None:
        """Count the storage of a tensor until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._live:
            return
        size = -(-storage.nbytes() // self.granularity) * self.granularity
        self._live[key] = (size, tensor.shape[-1] if tensor.dim() else 1)
        weakref.finalize(storage, self._free, key).atexit = False
        self.held += size
        self.peak = max(self.peak, self.held)

    def note(self, func: Any, args: Any, kwargs: Mapping[str, Any], result: Any) -> None:
        """Count the results of an operation, and the operation itself."""
        for tensor in _pytree.tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.hold(tensor)
        if (share := SCRATCH.get(func.overloadpacket)) is not None:
            self.peak = max(self.peak, self.held + round(share * args[0].nbytes))
        if func is torch.ops.aten._grouped_mm.default:
            self.flops += grouped_flops(args[0], args[1])
        elif (count := flop_registry.get(func.overloadpacket)) is not None:
            self.flops += int(count(*args, **kwargs, out_val=result))

    def start_peak(self) -> None:
        """Measure the peak from here on."""
        self.peak = self.held

    @property
    def live(self) -> frozenset[int]:
        """Identities of the live storages."""
        return frozenset(self._live)

    def held_since(self, before: frozenset[int], width: int | None = None) -> int:
        """Return the bytes of live storages that were not alive before, or of those of a width."""
        return sum(
            size for key, (size, last) in self._live.items() if key not in before and width in (None, last)
        )

    def _free(self, key: int) -> None:
        self.held -= self._live.pop(key)[0]
