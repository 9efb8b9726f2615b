"""Stacked expert weights as separate weights, for methods that use a norm of each weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


def expert_dims(group: Mapping[str, Any]) -> dict[Tensor, int | None]:
    """Return the dimension along which each parameter of a group stacks experts, if the group declares it."""
    return dict(zip(group["params"], group.get("expert_dim", ()), strict=False))


def unstacked_experts(
    dims: Mapping[Tensor, int | None], params: Sequence[Tensor], *columns: Sequence[Tensor]
) -> list[list[Tensor]]:
    """Return columns of tensors shaped like the parameters, with one view for each expert of a stack."""
    weights = [
        weight
        for row in zip(params, *columns, strict=True)
        for weight in zip(*(_unstacked(t, dims.get(row[0])) for t in row), strict=True)
    ]
    return [list(column) for column in zip(*weights, strict=True)]


def _unstacked(tensor: Tensor, expert_dim: int | None) -> list[Tensor]:
    return [tensor.detach()] if expert_dim is None else list(tensor.detach().unbind(expert_dim))
