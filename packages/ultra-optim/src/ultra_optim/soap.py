"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.contract.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.decay import DecayRule
from ultra_optim.families.adam import adam_direction
from ultra_optim.families.matrices import ADAMW_STATE
from ultra_optim.families.stacks import Stack, StackedOptimizer


class SOAP(StackedOptimizer):
    """SOAP (Vyas et al. 2025, arXiv 2409.11321).

    Groups of kind ``matrix`` and ``expert``, with G the gradient of one logical matrix and s the step number
    minus one, because the first step only initialises L, R and their eigenvectors and moves nothing:

    G' = Q_L^T G Q_R;  M <- b1 M + (1 - b1) G';  V <- b2 V + (1 - b2) G'^2
    W <- (1 - lr wd) W - lr Q_L (M / (1 - b1^s) / (sqrt(V / (1 - b2^s)) + eps)) Q_R^T
    L <- b L + (1 - b) G G^T;  R <- b R + (1 - b) G^T G,  b = shampoo_beta

    Every ``precondition_frequency`` steps the columns of Q_L are sorted by the diagonal of Q_L^T L Q_L, the
    rows of V in the same order, and Q_L <- qr(L Q_L); Q_R likewise; M is rotated into the new basis. A side
    above ``max_precond_dim`` is not rotated. All other groups (embeddings, heads, norms, biases, gates,
    routers, convolutions) take AdamW.

    The step does not depend on the scale of the gradient. While L or R is rank-deficient (a narrow matrix in
    its first steps), its eigenvectors of eigenvalue 0 are arbitrary, and the step depends on them.

    Differs from the paper: as in the authors' code, the first step is skipped, M is stored rotated, and V is
    sorted but not rotated.
    Differs from the authors' code: weight decay comes before the step; eps is added after the bias
    correction, as in AdamW; M is rotated when the basis changes instead of back and forth in every step, with
    the same result and fewer products; vectors use AdamW with betas of its own.

    State: 2n + 2 rows^2 + 2 columns^2. Treats: matrices, AdamW the rest.

    Args:
        params: groups with a ``kind``, from ``ultra_optim.param_groups(model)``, which
            ``ultra_optim.create("soap", model)`` calls.
        lr: learning rate.
        betas: decay rates of the moments.
        eps: added to the denominator, in both parts.
        weight_decay: decoupled, multiplied by the learning rate, in both parts.
        shampoo_beta: decay rate of L and R; the second of ``betas`` if None.
        precondition_frequency: number of steps between two changes of the basis.
        max_precond_dim: longest side that is rotated.
        adamw_lr: learning rate of AdamW groups that do not set one; ``lr`` if None.
        adamw_betas: decay rates of the moments of AdamW groups that do not set ``betas``.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.

    Raises:
        ValueError: a group has no ``kind``, a parameter of kind ``matrix`` is not a matrix, a hyperparameter
            is out of range, a parameter is listed twice, a state dict belongs to another optimizer, or a
            gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        state_dtype="wide", matrix=True, max_update_rms=1.1, idle_first_step=True
    )
    reference: ClassVar[str] = "ultra_optim.reference.preconditioned:soap"
    state_names: ClassVar[frozenset[str]] = ADAMW_STATE | {
        "step", "rotated_avg", "rotated_avg_sq", "left", "right", "left_basis", "right_basis",
    }  # fmt: skip

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 3e-3,
        *,
        betas: tuple[Beta, Beta] = (0.95, 0.95),
        eps: Epsilon = 1e-8,
        weight_decay: WeightDecay = 0.01,
        shampoo_beta: Beta | None = None,
        precondition_frequency: Annotated[int, Range(min=1)] = 10,
        max_precond_dim: Annotated[int, Range(min=1)] = 10000,
        adamw_lr: LearningRate | None = None,
        adamw_betas: tuple[Beta, Beta] = (0.9, 0.95),
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
                "precondition_frequency": precondition_frequency,
                "max_precond_dim": max_precond_dim,
                "adamw_lr": adamw_lr,
                "adamw_betas": adamw_betas,
                "decay_rule": decay_rule,
            },
        )

    @classmethod
    def matrix_state(cls, group: Mapping[str, Any], rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of moments, L, R and their bases; they are empty for a side that is too long."""
        left, right = (n if n <= group["max_precond_dim"] else 0 for n in (rows, columns))
        return {
            "rotated_avg": (rows, columns),
            "rotated_avg_sq": (rows, columns),
            "left": (left, left),
            "left_basis": (left, left),
            "right": (right, right),
            "right_basis": (right, right),
        }

    def direction(self, group: Mapping[str, Any], stack: Stack) -> Tensor | None:
        """Return Adam's direction in the eigenbasis, rotated back; None at the first step."""
        grad = stack.grad
        betas, step = group["betas"], stack.step - 1
        beta = betas[1] if group["shampoo_beta"] is None else group["shampoo_beta"]
        direction = None
        if step > 0:
            bases = stack["left_basis"], stack["right_basis"]
            low = adam_direction(
                rotate(grad, *bases),
                stack["rotated_avg"],
                stack["rotated_avg_sq"],
                step=step,
                betas=betas,
                eps=group["eps"],
            )
            direction = rotate_back(low, *bases)
        for name, side in (("left", grad), ("right", grad.mT)):
            if stack[name].numel() > 0:
                stack[name].lerp_(side @ side.mT, 1 - beta)
        if step == 0:
            for name in ("left", "right"):
                stack[f"{name}_basis"].copy_(torch.linalg.eigh(stack[name]).eigenvectors.flip(-1))
        elif step % group["precondition_frequency"] == 0:
            refresh(stack)
        return direction


def rotate(matrix: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return left^T @ matrix @ right; an empty basis is the identity."""
    matrix = left.mT @ matrix if left.numel() > 0 else matrix
    return matrix @ right if right.numel() > 0 else matrix


def rotate_back(matrix: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return left @ matrix @ right^T; an empty basis is the identity."""
    matrix = left @ matrix if left.numel() > 0 else matrix
    return matrix @ right.mT if right.numel() > 0 else matrix


def refresh(stack: Stack) -> None:
    """Update both bases by one power iteration; sort V and rotate M accordingly."""
    average = rotate_back(stack["rotated_avg"], stack["left_basis"], stack["right_basis"])
    squares = stack["rotated_avg_sq"]
    for name, dim in (("left", -2), ("right", -1)):
        basis = stack[f"{name}_basis"]
        if basis.numel() == 0:
            continue
        shares = (basis * (image := stack[name] @ basis)).sum(-2)
        order = shares.argsort(dim=-1, descending=True, stable=True)
        index = order.unsqueeze(-1 if dim == -2 else -2)
        squares.copy_(squares.gather(dim, index.expand_as(squares)))
        image = image.gather(-1, order.unsqueeze(-2).expand_as(image))
        basis.copy_(torch.linalg.qr(image).Q)
    stack["rotated_avg"].copy_(rotate(average, stack["left_basis"], stack["right_basis"]))
