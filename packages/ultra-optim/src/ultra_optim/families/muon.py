"""The base of Muon and its relatives: momentum, orthogonalisation of every logical matrix, the step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultra_optim.base import batches, wide_dtype
from ultra_optim.engine.decay import decay_, decay_numbers
from ultra_optim.families.matrices import MatrixOptimizer, matrices_in, matrix_layout
from ultra_optim.families.orthogonal import orthogonalize_


class MuonFamily(MatrixOptimizer):
    """A matrix method that steps along the orthogonalised momentum; subclasses override parts of it.

    Groups have ``momentum``, ``nesterov``, ``ns_steps``, ``ns_coefficients``, ``ns_eps`` and
    ``adjust_lr_fn``. Each row block of a fused projection and each expert of a stacked weight is a matrix of
    its own; matrices of one shape share one batched iteration, in bfloat16 on GPUs that support it and in
    float32 elsewhere.
    """

    rescale_rows = False
    """Whether rows are rescaled before the iteration."""

    def update_matrices(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these matrices of the group."""
        layout = matrix_layout(group)
        for batch in batches(params):
            directions = [torch.empty_like(p, dtype=wide_dtype(p)) for p in batch]
            self.update_momentum(group, batch, directions)
            orthogonalize_(
                [m for p, d in zip(batch, directions, strict=True) for m in matrices_in(d, *layout[p])],
                steps=group["ns_steps"],
                coefficients=group["ns_coefficients"],
                adjust_lr_fn=group["adjust_lr_fn"],
                rescale_rows=self.rescale_rows,
                eps=group["ns_eps"],
            )
            self.rescale_directions(group, batch, directions)
            self.run_update(descend, batch, directions, lr=group["lr"], **decay_numbers(group))

    def update_momentum(self, group: dict[str, Any], params: list[Tensor], directions: list[Tensor]) -> None:
        """Update the momenta and write what will be orthogonalised to ``directions``."""
        self.run_update(
            momentum_update,
            params,
            self.zeros(params, "momentum_buffer"),
            directions,
            momentum=group["momentum"],
            nesterov=group["nesterov"],
        )

    def rescale_directions(
        self, group: dict[str, Any], params: list[Tensor], directions: list[Tensor]
    ) -> None:
        """Change the orthogonalised and scaled directions in place; Muon does not."""


def momentum_update(
    params: list[Tensor],
    grads: list[Tensor],
    momenta: list[Tensor],
    directions: list[Tensor],
    *,
    momentum: float,
    nesterov: bool,
) -> None:
    """B <- mu B + (1 - mu) G in place; write mu B + (1 - mu) G, without Nesterov B, to ``directions``."""
    torch._foreach_lerp_(momenta, grads, 1 - momentum)
    torch._foreach_copy_(directions, grads if nesterov else momenta)
    if nesterov:
        torch._foreach_lerp_(directions, momenta, momentum)


def descend(
    params: list[Tensor],
    grads: list[Tensor],
    directions: list[Tensor],
    *,
    lr: float,
    decay: float,
    cautious: bool,
) -> None:
    """Apply weight decay, then p <- p - lr d, in place."""
    decay_(params, directions, decay=decay, cautious=cautious)
    torch._foreach_add_(params, directions, alpha=-lr)
