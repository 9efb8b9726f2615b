"""State of many matrices of one parameter in one flat tensor."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_optim.base import Optimizer, wide_dtype
from ultra_optim.contract.state_spec import like


class FlatState(Optimizer):
    """Keeps, under some names, what belongs to the matrices of a parameter one after the other."""

    flat_names: ClassVar[frozenset[str]] = frozenset()
    """Those names."""

    @abc.abstractmethod
    def flat_sizes(self, group: Mapping[str, Any], parameter: Tensor) -> dict[str, int]:
        """Return how many elements are kept under each name."""

    def flat_like(self, group: Mapping[str, Any], parameter: Tensor) -> dict[str, Tensor | int]:
        """Return what is kept under those names, see :meth:`ultra_optim.contract.checks.Checked.state_like`."""
        sizes = self.flat_sizes(group, parameter)
        return {name: like(parameter, (size,)) for name, size in sizes.items()}


def flat_views(
    state: dict[str, Any],
    name: str,
    like: Tensor,
    shapes: Sequence[Sequence[int]],
    dtype: torch.dtype | None = None,
) -> list[Tensor]:
    """Return views, one of each shape, of the flat tensor under this name; it is zero at first."""
    sizes = [math.prod(shape) for shape in shapes]
    if name not in state:
        state[name] = torch.zeros(sum(sizes), dtype=dtype or wide_dtype(like), device=like.device)
    if len(shapes) == 1:
        return [state[name].view(*shapes[0])]
    return [part.view(*shape) for part, shape in zip(state[name].split(sizes), shapes, strict=True)]
