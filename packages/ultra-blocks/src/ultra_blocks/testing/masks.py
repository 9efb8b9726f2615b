"""Masks, a mode in which the random masks of a forward pass are counted, or replaced by their mean."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

UNIFORM = ("rand", "rand_like", "uniform")
COMPARISONS = ("lt", "le", "gt", "ge")


class Masks(TorchDispatchMode):
    """Counts the masks that torch draws while the mode is on; those inside of custom operators are not seen.

    A mask is what ``bernoulli`` and ``native_dropout`` draw, and the comparison of uniform numbers with a
    rate.

    Args:
        mean: give every element of a floating-point mask its mean, so that dropout changes nothing if what
            is kept is divided by the probability of being kept.

    Attributes:
        fractions: for each mask, the fraction of ones and the number of elements.
        twice: whether what ``F.dropout`` returned, or a view of it, was given to it again.
    """

    def __init__(self, *, mean: bool = False) -> None:
        super().__init__()
        self.mean = mean
        self.fractions: list[tuple[float, int]] = []
        self.twice = False
        self._masks: dict[int, Tensor] = {}
        self._dropped: dict[int, Tensor] = {}
        self._uniform: dict[int, Tensor] = {}  # by the address of their memory, and kept alive

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count or replace its result if that is a mask."""
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__.strip("_")
        if name == "bernoulli":
            self._count(result)
            self._masks[_address(result)] = result
            if self.mean and result.is_floating_point():
                rates = [arg for arg in args[1:] if isinstance(arg, float | Tensor)] or [args[0]]
                result.fill_(rates[0]) if isinstance(rates[0], float) else result.copy_(rates[0])
        elif name == "native_dropout" and args[2]:
            self._count(result[1])
            if self.mean:
                result[0].copy_(args[0])
        elif name == "mul":
            self._multiply(result, [_address(arg) for arg in args[:2]])
        elif name in UNIFORM:
            self._uniform[_address(result)] = result
        elif name in COMPARISONS and any(_address(arg) in self._uniform for arg in args):
            self._count(result)
        return result

    def _multiply(self, result: Tensor, factors: list[int]) -> None:
        """Note what was multiplied by a mask, and whether it had been before."""
        if any(factor in self._masks for factor in factors):
            self.twice = self.twice or any(factor in self._dropped for factor in factors)
            self._dropped[_address(result)] = result

    def _count(self, mask: Tensor) -> None:
        if mask.numel():
            self.fractions.append((float(mask.double().mean()), mask.numel()))


def _address(value: Any) -> int:
    """Return where a tensor has its memory, 0 for other values; detached tensors share it."""
    return value.untyped_storage().data_ptr() if isinstance(value, Tensor) else 0
