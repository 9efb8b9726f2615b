"""APOLLO: plain gradients, scaled as Adam in a random low-rank space would scale them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.contract.checks import INFINITY, Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.decay import DecayRule
from ultra_optim.engine.seeded_random import normal
from ultra_optim.families.matrices import ADAMW_STATE
from ultra_optim.families.stacks import Product, Stack, StackedOptimizer, product
from ultra_optim.roles.option_aliases import OptionAlias

Projection = Literal["std", "reverse_std", "right", "left"]
"""Which side of a gradient is projected; the names are those of the authors' code."""

MAX_GROWTH = 1.01
"""Largest ratio of the norm of a scaled gradient to that of the previous one."""


class APOLLO(StackedOptimizer):
    """APOLLO (Zhu et al. 2025, arXiv 2412.05270).

    Groups of kind ``matrix`` and ``expert``, with G the gradient of one logical matrix (m, n), transposed if
    necessary so that m >= n, and P (n, r) normal random numbers of variance 1 / r, redrawn every
    ``update_interval`` steps:

    R = G P;  M <- b1 M + (1 - b1) R;  V <- b2 V + (1 - b2) R^2;  N = M / (sqrt(V) + eps)
    s_i = |N_i| / |R_i| for each row i;  U = diag(s) G, its norm limited to 1.01 times that of the last U
    W <- (1 - lr wd) W - lr sqrt(1 - b2^t) / (1 - b1^t) sqrt(scale) U

    With ``scale_type="tensor"``, s is the single number |N| / |R|. ``proj_type`` can project the longer side
    instead (``reverse_std``), or always the columns (``right``) or the rows (``left``) of G; the other side
    has the scales. The state is 2 m r + 1 numbers for each matrix; P is a function of ``seed`` and the step,
    and all matrices with the same shorter side share it. All other groups
    (embeddings, heads, norms, biases, gates, routers, convolutions) take AdamW.

    Differs from the paper: nothing. Its learning rate of 0.01 is for all parameters; the default here suits
    the AdamW part.
    Differs from the authors' code: matrices share P where it has the same shape; weight decay comes before
    the step; a zero gradient (an expert without tokens) does not change the norm that limits the next update,
    where theirs sets it to 0, from which the updates of the matrix grow by only one percent a step; the state
    is tensors and numbers.

    State: 2 rank longer + 1. Treats: matrices, AdamW the rest.

    Args:
        params: groups with a ``kind``, from ``ultra_optim.param_groups(model)``, which
            ``ultra_optim.create("apollo", model)`` calls.
        lr: learning rate.
        betas: decay rates of the moments, in both parts.
        eps: added to the denominator, in both parts.
        weight_decay: decoupled, multiplied by the learning rate, in both parts.
        rank: columns r of P, at most n.
        update_interval: number of steps between two draws of P.
        scale: the update is multiplied by its square root.
        scale_type: one scale for each row (``channel``) or one for the matrix (``tensor``).
        proj_type: the side of G that is projected: the shorter one (``std``), the longer one
            (``reverse_std``), columns (``right``) or rows (``left``).
        scale_front: multiply by the root of ``scale`` before the norm-growth limiter instead of after it, so
            that a change of ``scale`` is limited as well.
        disable_nl: disable the norm-growth limiter.
        seed: seed of the random numbers.
        adamw_lr: learning rate of AdamW groups that do not set one; ``lr`` if None.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.

    Raises:
        ValueError: a group has no ``kind``, a parameter of kind ``matrix`` is not a matrix, a hyperparameter
            is out of range, a parameter is listed twice, a state dict belongs to another optimizer, or a
            gradient is sparse.
    """

    option_aliases: ClassVar[Mapping[str, OptionAlias]] = {"update_proj_gap": OptionAlias("update_interval")}
    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        state_dtype="wide", gradient_scale="invariant", matrix=True
    )
    reference: ClassVar[str] = "ultra_optim.testing.seeded_references:seeded_apollo"
    variations: ClassVar[Mapping[str, Any]] = {"scale_front": []}  # it acts where ``scale`` changes in a run
    state_names: ClassVar[frozenset[str]] = ADAMW_STATE | {"step", "low_avg", "low_avg_sq", "length"}

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: Epsilon = 1e-6,
        weight_decay: WeightDecay = 0.0,
        rank: Annotated[int, Range(min=1)] = 256,
        update_interval: Annotated[int, Range(min=1)] = 200,
        scale: Annotated[float, Range(gt=0, lt=INFINITY)] = 1.0,
        scale_type: Literal["channel", "tensor"] = "channel",
        proj_type: Projection = "std",
        scale_front: bool = False,
        disable_nl: bool = False,
        seed: Annotated[int, Range(min=0)] = 0,
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
                "scale_type": scale_type,
                "proj_type": proj_type,
                "scale_front": scale_front,
                "disable_nl": disable_nl,
                "seed": seed,
                "adamw_lr": adamw_lr,
                "decay_rule": decay_rule,
            },
        )

    @classmethod
    def matrix_state(cls, group: Mapping[str, Any], rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the moments and of the norm of the last update."""
        other, projected = (rows, columns) if projects_columns(group, rows, columns) else (columns, rows)
        rank = min(group.get("rank", 1), projected)
        return {"low_avg": (other, rank), "low_avg_sq": (other, rank), "length": (1, 1)}

    def direction(self, group: Mapping[str, Any], stack: Stack) -> Product:
        """Return the gradient times its scales and Adam's bias correction."""
        upright = projects_columns(group, *stack.grad.shape[-2:])
        grad = stack.grad if upright else stack.grad.mT
        dims = (-1,) if group.get("scale_type") == "channel" else (-2, -1)
        # norms first: they bring the gradient into the cache faster than the product does
        norms = row_norms(grad) if len(dims) == 1 else matrix_norms(stack.grad)
        low = product(grad, self.projection(group, stack.step, grad))
        normed = self.normed(group, stack, low)
        over, under = (torch.linalg.vector_norm(t, dim=dims, keepdim=True) for t in (normed, low))
        scales = over.div_(under).masked_fill_(under == 0, 0.0)
        back = math.sqrt(group["scale"])
        if group["scale_front"]:
            scales.mul_(back)
            back = 1.0
        if not group["disable_nl"]:
            length = torch.linalg.vector_norm(scales * norms, dim=1, keepdim=True)
            limit_growth_(scales, length, stack["length"])
        beta1, beta2 = group["betas"]
        correction = math.sqrt(1 - beta2**stack.step) / (1 - beta1**stack.step)
        scales.mul_(correction * back)
        return Product(stack.grad, scales if upright else scales.mT, by_element=True)

    def normed(self, group: Mapping[str, Any], stack: Stack, low: Tensor) -> Tensor:
        """Update the moments and return N."""
        beta1, beta2 = group["betas"]
        first = stack["low_avg"].lerp_(low, 1 - beta1)
        second = stack["low_avg_sq"].mul_(beta2).addcmul_(low, low, value=1 - beta2)
        return first / second.sqrt().add_(group["eps"])

    def projection(self, group: Mapping[str, Any], step: int, grad: Tensor) -> Tensor:
        """Return P, which is cached until the next draw."""
        side = grad.shape[-1]
        rank = min(group.get("rank", 1), side)
        epoch = (step - 1) // group["update_interval"]
        cache: dict[Any, Any] = self.__dict__.setdefault("_projections", {})
        place = (side, rank, group["seed"], grad.device, grad.dtype)
        found: tuple[int, Tensor] | None = cache.get(place)
        if found is None or found[0] != epoch:  # several threads may draw it; they draw the same
            projection = normal((side, rank), group["seed"], epoch, like=grad) / math.sqrt(rank)
            found = cache[place] = epoch, projection
        return found[1]


def projects_columns(group: Mapping[str, Any], rows: int, columns: int) -> bool:
    """Whether P multiplies a gradient from the right and so projects its columns."""
    kind = group["proj_type"]
    return (rows >= columns) == (kind == "std") if kind in ("std", "reverse_std") else kind == "right"


def matrix_norms(matrices: Tensor) -> Tensor:
    """Return the norm of each matrix, (batch, 1, 1)."""
    return torch.linalg.vector_norm(matrices, dim=(-2, -1), keepdim=True)


def row_norms(matrices: Tensor) -> Tensor:
    """Return the norm of each row, (batch, rows, 1).

    ``torch.linalg.vector_norm`` is ten times slower on a CPU for the rows of a transposed matrix.
    """
    if matrices.is_contiguous():
        return torch.linalg.vector_norm(matrices, dim=-1, keepdim=True)
    return matrices.square().sum(-1, keepdim=True).sqrt_()


def limit_growth_(scales: Tensor, length: Tensor, last: Tensor) -> None:
    """Limit the norms of updates to 1.01 times those of the last updates, unless these are 0.

    Args:
        scales: ``(batch, rows or 1, 1)``, the factors of the update, changed in place.
        length: ``(batch, 1, 1)``, its norm.
        last: ``(batch, 1, 1)``, the norm of the last update; replaced by that of the limited one unless it is
            0.
    """
    excess = length.div(MAX_GROWTH * last).masked_fill_(last == 0, 1.0).clamp_min_(1.0)
    scales.div_(excess)
    last.copy_(torch.where(length > 0, length / excess, last))
