"""The state of many matrices of one parameter in one flat tensor."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_optim.base import Optimizer, wide_dtype
from ultra_optim.contract.state_spec import tensor_spec


class FlatState(Optimizer):
    """An optimizer with state tensors that concatenate the states of all matrices of a parameter."""

    flat_names: ClassVar[frozenset[str]] = frozenset()
    """Names of these state tensors."""

    @abc.abstractmethod
    def flat_sizes(self, group: Mapping[str, Any], parameter: Tensor) -> dict[str, int]:
        """Return the number of elements of each flat state tensor."""

    def flat_spec(self, group: Mapping[str, Any], parameter: Tensor) -> dict[str, Tensor | int]:
        """Return the specification of the flat state tensors."""
        sizes = self.flat_sizes(group, parameter)
        return {name: tensor_spec(parameter, (size,)) for name, size in sizes.items()}


def flat_views(
    state: dict[str, Any],
    name: str,
    like: Tensor,
    shapes: Sequence[Sequence[int]],
    dtype: torch.dtype | None = None,
) -> list[Tensor]:
    """Return views of these shapes of the flat state tensor of this name; it starts as zeros."""
    sizes = [math.prod(shape) for shape in shapes]
    if name not in state:
        state[name] = torch.zeros(sum(sizes), dtype=dtype or wide_dtype(like), device=like.device)
    if len(shapes) == 1:
        return [state[name].view(*shapes[0])]
    return [part.view(*shape) for part, shape in zip(state[name].split(sizes), shapes, strict=True)]
