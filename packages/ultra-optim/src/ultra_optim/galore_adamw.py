"""GaLore: AdamW in the space of the gradient's largest singular vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.contract.checks import INFINITY, Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.decay import DecayRule
from ultra_optim.families.adam import adam_direction
from ultra_optim.families.matrices import ADAMW_STATE
from ultra_optim.families.stacks import Product, Stack, StackedOptimizer, product
from ultra_optim.roles.option_aliases import Implied, OptionAlias


class GaLoreAdamW(StackedOptimizer):
    """GaLore with AdamW (Zhao et al. 2024, arXiv 2403.03507).

    Groups of kind ``matrix`` and ``expert``, with G the gradient of one logical matrix (m, n), transposed if
    necessary so that m >= n, and P (n, r) its first right singular vectors, recomputed every
    ``update_interval`` steps:

    R = G P;  M <- b1 M + (1 - b1) R;  V <- b2 V + (1 - b2) R^2
    W <- (1 - lr wd) W - lr scale (M / (1 - b1^t) / (sqrt(V / (1 - b2^t)) + eps)) P^T

    P projects the shorter side, so that the moments have the size of the longer one, as in the authors' code:
    the state is n r + 2 m r numbers. All other groups (embeddings, heads, norms, biases, gates, routers,
    convolutions) and matrices with a side above ``max_dim`` use AdamW.

    Differs from the paper: the signs of singular vectors, which are arbitrary, are chosen to agree with the
    previous P, so that the moments stay valid when P changes.
    Differs from the authors' code: weight decay comes before the step; eps is added after the bias
    correction, as in AdamW; the singular vectors are computed as eigenvectors of G^T G in float64, which is
    faster; the state is tensors and numbers instead of a projector object, which ``torch.load`` refuses.

    State: 2 rank longer + rank shorter. Treats: matrices, AdamW the rest.

    Args:
        params: groups with a ``kind``, from ``ultra_optim.param_groups(model)``, which
            ``ultra_optim.create("galore_adamw", model)`` calls.
        lr: learning rate.
        betas: decay rates of the moments, in both parts.
        eps: added to the denominator, in both parts.
        weight_decay: decoupled, multiplied by the learning rate, in both parts.
        rank: columns r of P, at most n.
        update_interval: number of steps between two computations of P; the first step computes it too.
        scale: factor of the update.
        max_dim: longest side of a matrix that is projected; None for no limit.
        adamw_lr: learning rate of AdamW groups that do not set one; ``lr`` if None.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.

    Raises:
        ValueError: a group has no ``kind``, a parameter of kind ``matrix`` is not a matrix, a hyperparameter
            is out of range, a parameter is listed twice, a state dict belongs to another optimizer, or a
            gradient is sparse.
    """

    option_aliases: ClassVar[Mapping[str, OptionAlias]] = {"update_proj_gap": OptionAlias("update_interval")}
    implied_options: ClassVar[Mapping[str, Implied]] = {
        "proj_type": Implied(("std",), "P is always on the shorter side")
    }
    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        state_dtype="wide", gradient_scale="invariant", matrix=True, max_update_rms=1.1
    )
    reference: ClassVar[str] = "ultra_optim.reference.low_rank:galore"
    state_names: ClassVar[frozenset[str]] = ADAMW_STATE | {"step", "projector", "low_avg", "low_avg_sq"}

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: Epsilon = 1e-8,
        weight_decay: WeightDecay = 0.0,
        rank: Annotated[int, Range(min=1)] = 128,
        update_interval: Annotated[int, Range(min=1)] = 200,
        scale: Annotated[float, Range(gt=0, lt=INFINITY)] = 0.25,
        max_dim: Annotated[int, Range(min=1)] | None = None,
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
                "rank": rank,
                "update_interval": update_interval,
                "scale": scale,
                "max_dim": max_dim,
                "adamw_lr": adamw_lr,
                "decay_rule": decay_rule,
            },
        )

    @classmethod
    def matrix_state(cls, group: Mapping[str, Any], rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the projector and the moments."""
        rank = min(group["rank"], rows, columns)
        low = (rows, rank) if rows >= columns else (rank, columns)
        return {"projector": (min(rows, columns), rank), "low_avg": low, "low_avg_sq": low}

    def treats(self, group: Mapping[str, Any], rows: int, columns: int) -> bool:
        """Whether both sides are at most ``max_dim``."""
        return group["max_dim"] is None or max(rows, columns) <= group["max_dim"]

    def direction(self, group: Mapping[str, Any], stack: Stack) -> Product:
        """Return ``scale`` times Adam's direction in the low rank, projected back."""
        grad, projector = stack.grad, stack["projector"]
        tall = grad.shape[-2] >= grad.shape[-1]
        if (stack.step - 1) % group["update_interval"] == 0:
            projector.copy_(singular_vectors(grad if tall else grad.mT, projector))
        low = adam_direction(
            product(grad, projector) if tall else product(projector.mT, grad),
            stack["low_avg"],
            stack["low_avg_sq"],
            step=stack.step,
            betas=group["betas"],
            eps=group["eps"],
            scale=group["scale"],
        )
        return Product(low, projector.mT) if tall else Product(projector, low)


def singular_vectors(grad: Tensor, previous: Tensor) -> Tensor:
    """Return the first right singular vectors of each matrix, as many as ``previous`` has.

    Args:
        grad: ``(batch, rows, columns)`` with rows >= columns.
        previous: ``(batch, columns, rank)``, which the signs are chosen to agree with; zeros change no sign.
    """
    wide = grad.double()
    peak = wide.abs().amax(dim=(-2, -1), keepdim=True)
    wide = wide / torch.where(peak > 0, peak, 1.0)  # the squares of tiny gradients would underflow
    vectors = torch.linalg.eigh(wide.mT @ wide).eigenvectors
    first = vectors[..., -previous.shape[-1] :].flip(-1)
    agreement = (first * previous).sum(-2, keepdim=True)
    return torch.where(agreement < 0, -first, first).to(previous.dtype)
