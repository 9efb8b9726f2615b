"""State of many matrices of one parameter in one flat tensor."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_optim.base import Optimizer, wide_dtype


class FlatState(Optimizer):
    """Keeps, under some names, what belongs to the matrices of a parameter one after the other."""

    flat_names: ClassVar[frozenset[str]] = frozenset()
    """Those names."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.factored = cls.flat_names

    @abc.abstractmethod
    def flat_sizes(self, group: Mapping[str, Any], parameter: Tensor) -> dict[str, int]:
        """Return how many elements are kept under each name."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state dict of the same optimizer over the same parameters.

        Raises:
            ValueError: groups, names or shapes differ from this optimizer's; nothing is loaded then.
        """
        groups = state_dict.get("param_groups", []) if isinstance(state_dict, Mapping) else []
        for own, saved in zip(self.param_groups, groups, strict=False):
            if saved.keys() >= self.defaults.keys():  # else the general check says what is wrong
                group = {key: saved.get(key, value) for key, value in own.items()}
                self._check_sizes({**group, "params": own["params"]}, saved["params"], state_dict["state"])
        super().load_state_dict(state_dict)

    def _check_sizes(self, group: Mapping[str, Any], keys: Sequence[Any], state: Mapping[Any, Any]) -> None:
        for p, key in zip(group["params"], keys, strict=False):
            kept = state.get(key, {})
            names = self.flat_names & kept.keys()
            sizes = self.flat_sizes(group, p) if names else {}
            for name in names:
                value, expected = kept[name], sizes.get(name, 0)
                if not isinstance(value, Tensor) or value.numel() != expected:
                    shape = tuple(value.shape) if isinstance(value, Tensor) else ()
                    raise ValueError(
                        f"{type(self).__name__}: {name} of a parameter of shape {tuple(p.shape)} has shape "
                        f"{shape} in the state dict, {expected} elements are expected: the state dict is "
                        "another optimizer's or of other parameters"
                    )


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
    return [part.view(*shape) for part, shape in zip(state[name].split(sizes), shapes, strict=True)]
