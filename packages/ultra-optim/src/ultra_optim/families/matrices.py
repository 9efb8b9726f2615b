"""The base of optimizers for hidden matrices: which tensors are matrices, and the AdamW part."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from ultra_core.contracts import PARAMETER_KINDS
from ultra_optim.base import Optimizer, wide_dtype
from ultra_optim.contract.head_warning import KEY, warn_of
from ultra_optim.contract.state_spec import COUNT, COUNTERS, tensor_spec
from ultra_optim.contract.traits import MATRIX_KINDS, traits_of
from ultra_optim.engine.decay import decay_, decay_numbers
from ultra_optim.families.adam import can_fuse, same_layout

ADAMW_STATE: frozenset[str] = frozenset({"exp_avg", "exp_avg_sq", "adam_step"})
"""Names of the state of the AdamW part."""

SCALAR = ((), torch.float32)
"""Shape and dtype of its step count."""


class MatrixOptimizer(Optimizer):
    """A method for groups of kind ``matrix`` and ``expert``; all other groups use AdamW.

    A group of another kind without ``lr``, ``betas`` or ``eps`` of its own uses the options ``adamw_lr``,
    ``adamw_betas`` or ``adamw_eps`` of the constructor, where they exist and are not None.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group that has a ``kind``.

        Raises:
            ValueError: it has none, or a parameter of kind ``matrix`` or ``expert`` is not a matrix.
        """
        kind = param_group.get("kind")
        if kind not in PARAMETER_KINDS:
            raise ValueError(
                f"{type(self).__name__} needs to know which parameters are hidden matrices, but a group has "
                f"kind {kind!r}. Pass ultra_optim.param_groups(model), use "
                f"ultra_optim.create({type(self).__module__.rpartition('.')[2]!r}, model), "
                f"or give each group a 'kind', one of {', '.join(PARAMETER_KINDS)}"
            )
        if kind not in MATRIX_KINDS:
            given = {**self.defaults, **param_group}
            own = {name: given.get(f"adamw_{name}") for name in ("lr", "betas", "eps")}
            param_group = {k: v for k, v in own.items() if v is not None} | param_group
        warn_of(param_group.get(KEY, {}), type(self).__name__)
        super().add_param_group(param_group)
        if kind in MATRIX_KINDS:
            try:
                for p in self.param_groups[-1]["params"]:
                    check_matrix(p, *matrix_layout(self.param_groups[-1])[p])
            except ValueError:
                self.param_groups.pop()
                raise

    def acts_by_element(self, group: Mapping[str, Any]) -> bool:
        """Whether AdamW updates the parameters of the group."""
        return group["kind"] not in MATRIX_KINDS and traits_of(self).other_kinds == "adamw"

    def state_spec(
        self, group: Mapping[str, Any], parameter: Tensor, saved: Mapping[str, Any]
    ) -> dict[str, Tensor | int]:
        """Return the specification: of the method for matrices, of AdamW for others if it has that state."""
        if group["kind"] in MATRIX_KINDS or not self.state_names >= ADAMW_STATE:
            names = self.state_names - ADAMW_STATE
            return {name: COUNT if name in COUNTERS else tensor_spec(parameter) for name in names}
        return {name: tensor_spec(parameter, *SCALAR if name in COUNTERS else ()) for name in ADAMW_STATE}

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of the group, by the method or by AdamW depending on its kind."""
        if group["kind"] in MATRIX_KINDS:
            self.update_matrices(group, params)
        else:
            self.update_others(group, params)

    @abc.abstractmethod
    def update_matrices(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of a group of matrices, all of which have a gradient."""

    def update_others(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters by AdamW."""
        for p in params:
            self.state[p].setdefault("adam_step", torch.zeros((), device=p.device))
        wide = [p.to(wide_dtype(p)) for p in params]
        grads = [p.grad.to(w.dtype) for p, w in zip(params, wide, strict=True) if p.grad is not None]
        first = self.zeros(params, "exp_avg")
        beta1, beta2 = group["betas"]
        weight_decay = group["weight_decay"]
        if group.get("decay_rule", "plain") != "plain":
            directions = list(torch._foreach_lerp(first, grads, 1 - beta1))
            decay_(wide, directions, **decay_numbers(group))
            weight_decay = 0.0
        adamw(
            wide,
            grads,
            first,
            self.zeros(params, "exp_avg_sq"),
            [],
            [self.state[p]["adam_step"] for p in params],
            fused=(can_fuse(params) and same_layout(params)) or None,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=weight_decay,
            eps=group["eps"],
            maximize=False,
        )
        for p, w in zip(params, wide, strict=True):
            if w is not p:
                p.copy_(w)


def matrices_in(
    tensor: Tensor, row_blocks: Sequence[int] = (), expert_dim: int | None = None
) -> list[Tensor]:
    """Return the logical matrices of a parameter as views of shape ``(batch, rows, columns)``.

    Args:
        tensor: ``(rows, columns)``, or three dimensions of which one counts experts.
        row_blocks: number of rows of each matrix that is stacked in ``(rows, columns)``; empty for one.
        expert_dim: the dimension that counts experts.
    """
    stacked = tensor.unsqueeze(0) if expert_dim is None else tensor.movedim(expert_dim, 0)
    if not row_blocks:
        return [stacked]
    if expert_dim is None and len(set(row_blocks)) == 1:
        return [tensor.unflatten(0, (len(row_blocks), -1))]  # equal blocks are a batch
    return list(stacked.split(list(row_blocks), dim=1))


def matrix_layout(group: Mapping[str, Any]) -> dict[Tensor, tuple[list[int], int | None]]:
    """Return (row blocks, expert dimension) of each parameter of a group; experts default to dimension 0."""
    params = group["params"]
    blocks = group.get("row_blocks") or [[] for _ in params]
    experts = group.get("expert_dim") or [
        0 if p.ndim == 3 and group.get("kind") == "expert" else None for p in params
    ]
    return {p: (b, e) for p, b, e in zip(params, blocks, experts, strict=True)}


def check_matrix(parameter: Tensor, row_blocks: list[int], expert_dim: int | None) -> None:
    """Refuse a parameter that is not one matrix, or one for each expert, with the given row blocks.

    Raises:
        ValueError: the shape does not fit.
    """
    shape = tuple(parameter.shape)
    matrix = [size for dim, size in enumerate(shape) if dim != expert_dim]
    if len(matrix) != 2:
        raise ValueError(
            f"a parameter of kind matrix has shape {shape}; it must have two dimensions, or three of which "
            "expert_dim counts experts. Give other tensors the kind vector, embedding, conv, ..."
        )
    if row_blocks and sum(row_blocks) != matrix[0]:
        raise ValueError(f"row blocks {row_blocks} do not add up to the {matrix[0]} rows of shape {shape}")
