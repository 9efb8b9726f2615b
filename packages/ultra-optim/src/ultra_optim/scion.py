"""Scion: steepest descent in a norm that depends on the kind of weight."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.base import batches, wide_dtype
from ultra_optim.contract.checks import INFINITY, Epsilon, LearningRate
from ultra_optim.contract.traits import MATRIX_KINDS, OptimizerTraits
from ultra_optim.families.matrices import MatrixOptimizer, matrices_in, matrix_layout
from ultra_optim.families.orthogonal import QUINTIC, orthogonalize_

Radius = Annotated[float, Range(gt=0, lt=INFINITY)]

VOCABULARY_KINDS = frozenset({"embedding", "head"})
"""Kinds of weights with one row for each token of the vocabulary."""

EPSILON = 1e-8
"""Added to root mean squares, as in the authors' code."""


class Scion(MatrixOptimizer):
    """Scion (Pethick et al. 2025, arXiv 2502.07529).

    M <- (1 - momentum) M + momentum G;  W <- (1 - lr) W - lr radius lmo(M)

    where lmo, the linear minimisation oracle, is the minimiser over the unit ball of a norm that depends on
    the kind of weight, with M = U S V^T of shape (r, c):

    - matrices and experts: sqrt(r / c) U V^T (spectral, by Newton-Schulz), radius ``radius``;
    - embeddings and heads: sign(M) / c, radius ``radius_ends``;
    - all others (biases, norms, gates, routers, convolutions): M divided by its root mean square, radius
      ``radius_vectors``.

    Weights stay inside their balls: W <- (1 - lr) W is part of the method and there is no other weight decay;
    ``unconstrained`` omits it. A step changes the output of a matrix or a head by the same amount at any
    width, so that learning rates transfer from narrow to wide models; a step moves the rows of a table by a
    root mean square of lr ``radius_ends`` / c, which is less in wider models.

    Differs from the paper: all embedding tables (words, positions, types), tied to a head or not, use the
    norm of heads, which the authors use for tied weights. Their norm for a table that is only an input, M
    divided by the root mean square of each row, moves rows equally far at any width; here ``radius_ends``
    would have to grow with c for that. Norms, biases and convolutions, which the models of the paper lack or
    train differently, use the root-mean-square norm; the default of ``momentum`` is 0.1 as in the authors'
    experiments instead of 1.

    State: n. Treats: everything, norms by kind.

    Args:
        params: groups with a ``kind``, from ``ultra_optim.param_groups(model)``, which
            ``ultra_optim.create("scion", model)`` calls.
        lr: learning rate; it should decay to 0.
        momentum: weight of the new gradient, one minus the usual momentum.
        radius: radius of the ball of hidden matrices.
        radius_ends: radius of the balls of embeddings and heads.
        radius_vectors: radius of the balls of all other parameters.
        ns_steps: Newton-Schulz iterations.
        ns_eps: added to the norm that the gradient is divided by; 0 makes the step independent of its size.
        unconstrained: omit the weight decay of the method.

    Raises:
        ValueError: a group has no ``kind``, a parameter of kind ``matrix`` is not a matrix, a hyperparameter
            is out of range, a parameter is listed twice, a state dict belongs to another optimizer, or a
            gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        state_dtype="wide",
        decay="none",
        gradient_scale="invariant",
        state_per_element=1,
        matrix=True,
        other_kinds="own",
        shape_factor="spectral",
        whole_tensors=True,
        eps=EPSILON,
        max_condition=1.25 / 0.65,
    )
    reference: ClassVar[str] = "ultra_optim.reference.orthogonal:scion"
    state_names: ClassVar[frozenset[str]] = frozenset({"momentum_buffer"})

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 2.0**-12,
        *,
        momentum: Annotated[float, Range(gt=0, max=1)] = 0.1,
        radius: Radius = 50.0,
        radius_ends: Radius = 3000.0,
        radius_vectors: Radius = 1.0,
        ns_steps: Annotated[int, Range(min=1, max=30)] = 5,
        ns_eps: Epsilon = 0.0,
        unconstrained: bool = False,
    ) -> None:
        radii = {"radius": radius, "radius_ends": radius_ends, "radius_vectors": radius_vectors}
        rest = {"ns_steps": ns_steps, "ns_eps": ns_eps, "unconstrained": unconstrained}
        super().__init__(params, {"lr": lr, "momentum": momentum, **radii, **rest})

    def update_matrices(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these matrices of the group."""
        self.update_others(group, params)

    def update_others(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters in the norm of their kind."""
        for batch in batches(params):
            directions = [torch.empty_like(p, dtype=wide_dtype(p)) for p in batch]
            momenta = self.zeros(batch, "momentum_buffer")
            self.run_update(average_update, batch, momenta, directions, momentum=group["momentum"])
            step = self._minimise(group, batch, directions) * group["lr"]
            shrinkage = 1.0 if group["unconstrained"] else 1 - group["lr"]
            self.run_update(step_towards, batch, directions, step=step, shrinkage=shrinkage)

    def _minimise(self, group: dict[str, Any], params: list[Tensor], directions: list[Tensor]) -> float:
        """Replace the directions by those of unit norm for the kind; return the radius."""
        kind = group["kind"]
        if kind in MATRIX_KINDS:
            layout = matrix_layout(group)
            pieces = [m for p, d in zip(params, directions, strict=True) for m in matrices_in(d, *layout[p])]
            spectral(pieces, group["ns_steps"], group["ns_eps"])
            return float(group["radius"])
        for direction in directions:
            if kind in VOCABULARY_KINDS and direction.ndim == 2:
                direction.sign_().div_(direction.shape[1])
            else:
                direction.div_(root_mean_square(direction).add_(EPSILON))
        return float(group["radius_ends" if kind in VOCABULARY_KINDS else "radius_vectors"])


def spectral(pieces: list[Tensor], steps: int, eps: float = 0.0) -> None:
    """Replace every ``(batch, rows, columns)`` view by sqrt(rows / columns) times its polar factor."""
    orthogonalize_(pieces, steps=steps, coefficients=QUINTIC, adjust_lr_fn="spectral", eps=eps)


def root_mean_square(tensor: Tensor) -> Tensor:
    """Return the root mean square of all elements."""
    return torch.linalg.vector_norm(tensor).div_(math.sqrt(max(1, tensor.numel())))


def average_update(
    params: list[Tensor],
    grads: list[Tensor],
    momenta: list[Tensor],
    directions: list[Tensor],
    *,
    momentum: float,
) -> None:
    """M <- (1 - momentum) M + momentum G in place, copied to ``directions``."""
    torch._foreach_lerp_(momenta, grads, momentum)
    torch._foreach_copy_(directions, momenta)


def step_towards(
    params: list[Tensor], grads: list[Tensor], directions: list[Tensor], *, step: float, shrinkage: float
) -> None:
    """W <- shrinkage W - step d, in place."""
    torch._foreach_mul_(params, shrinkage)
    torch._foreach_add_(params, directions, alpha=-step)
