"""Shampoo: momentum preconditioned by roots of Kronecker factors, with grafting from Adam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.contract.checks import INFINITY, Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.decay import DecayRule
from ultra_optim.families.adam import adam_direction
from ultra_optim.families.matrices import ADAMW_STATE
from ultra_optim.families.stacks import Stack, StackedOptimizer


class Shampoo(StackedOptimizer):
    """Shampoo (Gupta et al. 2018, arXiv 1802.09568; distributed form 2309.06497).

    Groups of kind ``matrix`` and ``expert``, with G the gradient of one logical matrix, or of one block of it
    of at most ``max_preconditioner_dim`` rows and columns:

    L <- b L + (1 - b) G G^T;  R <- b R + (1 - b) G^T G;  M <- b1 M + (1 - b1) G,  b = shampoo_beta
    U = L^(-1/4) M R^(-1/4);  W <- (1 - lr wd) W - lr U |A| / |U|,  A Adam's direction with b1 and b2

    With b = 1, L and R are sums, as in the first paper. Before a root is computed, matrix_eps times the
    largest eigenvalue is added to all eigenvalues. The roots are computed at step
    ``start_preconditioning_step`` and every ``precondition_frequency`` steps after it; before that the
    direction is A. With ``grafting="none"`` U keeps its norm, with bias correction of M, L and R. All other
    groups (embeddings, heads, norms, biases, gates, routers, convolutions) take AdamW.

    Differs from the paper: momentum, averages instead of sums, grafting and blocks are those of the
    distributed form, the relative eps is that of Anil et al. (arXiv 2002.09018).
    Differs from the distributed form: the first roots are computed after some steps and reused for several
    steps, where its code by default computes roots at every step and has no grafting; blocks have equal size;
    the roots are computed by eigendecompositions in float64.

    State: 2n + 2 rows^2 + 2 columns^2. Treats: matrices, AdamW the rest.

    Args:
        params: groups with a ``kind``, from ``ultra_optim.param_groups(model)``, which
            ``ultra_optim.create("shampoo", model)`` calls.
        lr: learning rate; with grafting about that of AdamW.
        betas: decay rates of the momentum and of Adam's second moment, in both parts.
        eps: added to Adam's denominator, in both parts.
        weight_decay: decoupled, multiplied by the learning rate, in both parts.
        shampoo_beta: decay rate of L and R; 1 for sums.
        matrix_eps: added to the eigenvalues, relative to the largest one.
        precondition_frequency: number of steps between two computations of the roots.
        start_preconditioning_step: step of the first computation.
        max_preconditioner_dim: largest number of rows and columns of a block.
        grafting: method whose norm the update takes.
        adamw_lr: learning rate of AdamW groups that do not set one; ``lr`` if None.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.

    Raises:
        ValueError: a group has no ``kind``, a parameter of kind ``matrix`` is not a matrix, a hyperparameter
            is out of range, a parameter is listed twice, a state dict belongs to another optimizer, or a
            gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        state_dtype="wide", gradient_scale="invariant", matrix=True, max_update_rms=1.1
    )
    reference: ClassVar[str] = "ultra_optim.reference.preconditioned:shampoo"
    state_names: ClassVar[frozenset[str]] = ADAMW_STATE | {
        "step", "momentum", "graft_sq", "left", "right", "left_root", "right_root",
    }  # fmt: skip

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: Epsilon = 1e-8,
        weight_decay: WeightDecay = 0.0,
        shampoo_beta: Annotated[float, Range(min=0, max=1)] = 0.999,
        matrix_eps: Annotated[float, Range(gt=0, lt=INFINITY)] = 1e-6,
        precondition_frequency: Annotated[int, Range(min=1)] = 50,
        start_preconditioning_step: Annotated[int, Range(min=1)] = 10,
        max_preconditioner_dim: Annotated[int, Range(min=1)] = 1024,
        grafting: Literal["adam", "none"] = "adam",
        adamw_lr: LearningRate | None = None,
        decay_rule: DecayRule = "plain",
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "shampoo_beta": shampoo_beta,
                "matrix_eps": matrix_eps,
                "precondition_frequency": precondition_frequency,
                "start_preconditioning_step": start_preconditioning_step,
                "max_preconditioner_dim": max_preconditioner_dim,
                "grafting": grafting,
                "adamw_lr": adamw_lr,
                "decay_rule": decay_rule,
            },
        )

    @classmethod
    def matrix_state(cls, group: Mapping[str, Any], rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the momentum, Adam's second moment, L, R and their roots."""
        return {
            "momentum": (rows, columns),
            "graft_sq": (rows, columns),
            "left": (rows, rows),
            "left_root": (rows, rows),
            "right": (columns, columns),
            "right_root": (columns, columns),
        }

    def split_blocks(self, group: Mapping[str, Any], matrix: Tensor) -> list[Tensor]:
        """Split matrices into blocks of nearly equal size within ``max_preconditioner_dim``."""
        rows, columns = (-(-size // group["max_preconditioner_dim"]) for size in matrix.shape[-2:])
        return [b for r in matrix.tensor_split(rows, dim=1) for b in r.tensor_split(columns, dim=2)]

    def direction(self, group: Mapping[str, Any], stack: Stack) -> Tensor:
        """Return the preconditioned momentum with the norm of Adam's direction."""
        beta, grad = group["shampoo_beta"], stack.grad
        for name, side in (("left", grad), ("right", grad.mT)):
            stack[name].mul_(beta).add_(side @ side.mT, alpha=1 - beta if beta < 1 else 1.0)
        graft = adam_direction(
            grad,
            stack["momentum"],
            stack["graft_sq"],
            step=stack.step,
            betas=group["betas"],
            eps=group["eps"],
        )
        steps_since_start = stack.step - group["start_preconditioning_step"]
        if steps_since_start < 0:
            return graft
        if steps_since_start % group["precondition_frequency"] == 0:
            correction = 1 - beta**stack.step if beta < 1 else 1.0
            refresh(stack, correction, group["matrix_eps"])
        average = stack["momentum"] / (1 - group["betas"][0] ** stack.step)
        direction = stack["left_root"] @ average @ stack["right_root"]
        if group["grafting"] == "none":
            return direction
        lengths = [torch.linalg.vector_norm(d, dim=(-2, -1), keepdim=True) for d in (graft, direction)]
        return direction.mul_(torch.where(lengths[1] > 0, lengths[0] / lengths[1], 0.0))


def refresh(stack: Stack, correction: float, eps: float) -> None:
    """Recompute the roots of L and R, divided by ``correction``."""
    for name in ("left", "right"):
        stack[f"{name}_root"].copy_(inverse_fourth_root(stack[name] / correction, eps))


def inverse_fourth_root(matrices: Tensor, eps: float) -> Tensor:
    """Return (X + eps lambda I)^(-1/4), lambda the largest eigenvalue of X; zero for X = 0."""
    values, vectors = torch.linalg.eigh(matrices.double())
    largest = values[..., -1:].clamp_min(0.0)
    roots = torch.where(largest > 0, (values.clamp_min(0.0) + eps * largest) ** -0.25, 0.0)
    return ((vectors * roots.unsqueeze(-2)) @ vectors.mT).to(matrices.dtype)
