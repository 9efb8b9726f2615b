"""PSGD Kron: a Kronecker-factored preconditioner, fitted by gradient descent on a Lie group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.contract.checks import INFINITY, Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.decay import DecayRule
from ultra_optim.engine.seeded_random import normal
from ultra_optim.families.matrices import ADAMW_STATE
from ultra_optim.families.stacks import Stack, StackedOptimizer
from ultra_optim.families.triangular import gram, subtract_product_, triangular_product


class PSGDKron(StackedOptimizer):
    """PSGD with Kronecker factors (Li 2018, arXiv 1512.04202; 2022, arXiv 2211.04422).

    Groups of kind ``matrix`` and ``expert``, with G the gradient of one logical matrix, M its average with
    decay rate ``momentum`` and bias correction, and Q_L, Q_R upper triangular:

    W <- (1 - lr wd) W - lr U,  U = Q_L^T Q_L M Q_R^T Q_R, times min(1, 1.1 / rms(U))

    In some steps, with normal random numbers V of the shape of M:  A = Q_L M Q_R^T,  B = Q_L^(-T) V Q_R^(-1),
    Q_L <- Q_L - precond_lr triu(A A^T - B B^T) Q_L / |A A^T + B B^T|,
    Q_R <- Q_R - precond_lr triu(A^T A - B^T B) Q_R / |A^T A + B^T B|,  spectral norms by a lower bound

    Q is updated whenever the sum of p over the steps passes an integer, where p is 1 for ``anneal_start``
    steps and then decays by the factor exp(-``anneal_decay``) a step to ``min_update_probability``. A side
    above ``max_size_triangular`` has a diagonal Q. In every hundredth update both factors are rescaled to the
    same largest element. All other groups (embeddings, heads, norms, biases, gates, routers, convolutions)
    use AdamW. The best learning rate is about a third of AdamW's.

    The random numbers are a function of ``seed``, the step and the shape: runs repeat and resume exactly,
    whatever other parameters there are. Matrices of one shape share them.

    Differs from the paper: as in the authors' current code the factors are fitted to the momentum instead of
    the gradient, and the intervals between updates are deterministic.
    Differs from kron_torch: the damping noise that an update of Q adds to the momentum does not reach the
    step; the factors are balanced in every hundredth update instead of in random ones; random numbers and
    counters follow from the state; vectors use AdamW.

    State: n + rows^2 + columns^2. Treats: matrices, AdamW the rest.

    Args:
        params: groups with a ``kind``, from ``ultra_optim.param_groups(model)``, which
            ``ultra_optim.create("psgd_kron", model)`` calls.
        lr: learning rate.
        momentum: decay rate of the averaged gradient, which is preconditioned.
        weight_decay: decoupled, multiplied by the learning rate, in both parts.
        min_update_probability: final value of p.
        anneal_start: number of steps with p = 1.
        anneal_decay: decay rate of p after them.
        precond_lr: learning rate of Q.
        precond_init_scale: square of the initial diagonal of Q_L and Q_R.
        max_size_triangular: longest side with a triangular factor.
        seed: seed of the random numbers.
        adamw_lr: learning rate of AdamW groups that do not set one; ``lr`` if None.
        betas: decay rates of AdamW's moments.
        eps: added to AdamW's denominator.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.

    Raises:
        ValueError: a group has no ``kind``, a parameter of kind ``matrix`` is not a matrix, a hyperparameter
            is out of range, a parameter is listed twice, a state dict belongs to another optimizer, or a
            gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(state_dtype="wide", matrix=True, max_update_rms=1.1)
    reference: ClassVar[str] = "ultra_optim.testing.seeded_references:seeded_kron"
    variations: ClassVar[Mapping[str, Any]] = {
        "min_update_probability": {"anneal_start": 0, "anneal_decay": 5.0},
        "anneal_decay": {"anneal_start": 3, "anneal_decay": 1.0},
    }
    state_names: ClassVar[frozenset[str]] = ADAMW_STATE | {"step", "momentum_buffer", "left", "right"}

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 3e-4,
        *,
        momentum: Beta = 0.9,
        weight_decay: WeightDecay = 0.0,
        min_update_probability: Annotated[float, Range(gt=0, max=1)] = 0.03,
        anneal_start: Annotated[int, Range(min=0)] = 500,
        anneal_decay: Annotated[float, Range(gt=0, lt=INFINITY)] = 0.001,
        precond_lr: Annotated[float, Range(gt=0, max=1)] = 0.1,
        precond_init_scale: Annotated[float, Range(gt=0, lt=INFINITY)] = 1.0,
        max_size_triangular: Annotated[int, Range(min=0)] = 8192,
        seed: Annotated[int, Range(min=0)] = 0,
        adamw_lr: LearningRate | None = None,
        betas: tuple[Beta, Beta] = (0.9, 0.95),
        eps: Epsilon = 1e-8,
        decay_rule: DecayRule = "plain",
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "min_update_probability": min_update_probability,
                "anneal_start": anneal_start,
                "anneal_decay": anneal_decay,
                "precond_lr": precond_lr,
                "precond_init_scale": precond_init_scale,
                "max_size_triangular": max_size_triangular,
                "seed": seed,
                "adamw_lr": adamw_lr,
                "betas": betas,
                "eps": eps,
                "decay_rule": decay_rule,
            },
        )

    @classmethod
    def matrix_state(cls, group: Mapping[str, Any], rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the momentum and the factors."""
        left, right = (
            (size, size) if size <= group["max_size_triangular"] else (size,) for size in (rows, columns)
        )
        return {"momentum_buffer": (rows, columns), "left": left, "right": right}

    def init_state(self, group: Mapping[str, Any], name: str, state: Tensor) -> None:
        """Initialise the factors as a multiple of the identity."""
        if name != "momentum_buffer":
            diagonal = state.diagonal(dim1=-2, dim2=-1) if state.ndim == 3 else state
            diagonal.fill_(group["precond_init_scale"] ** 0.5)

    def direction(self, group: Mapping[str, Any], stack: Stack) -> Tensor:
        """Return the preconditioned momentum, clipped."""
        stack["momentum_buffer"].lerp_(stack.grad, 1 - group["momentum"])
        average = stack["momentum_buffer"] / (1 - group["momentum"] ** stack.step)
        updates, before = (
            updates_until(step, group["anneal_start"], group["anneal_decay"], group["min_update_probability"])
            for step in (stack.step, stack.step - 1)
        )
        left, right = stack["left"], stack["right"]
        if updates > before:
            if updates % 100 == 0:
                balance_(left, right)
            noise = normal(average.shape[1:], group["seed"], stack.step, like=average)
            update_factors_(left, right, average, noise, lr=group["precond_lr"])
        for factor, transposed in ((left, False), (right, True)):
            side = average.mT if transposed else average
            side = apply(factor, apply(factor, side), transposed=True)
            average = side.mT if transposed else side
        rms = average.square().mean(dim=(-2, -1), keepdim=True).sqrt_()
        return average * (1.1 / rms.clamp_min_(1e-12)).clamp_max_(1.0)


def updates_until(step: int, start: int, decay: float, least: float) -> int:
    """Return the number of updates of the factors in the first ``step`` steps."""
    steps = max(0, step - start)
    falling = min(steps, math.floor(-math.log(least) / decay))
    geometric = math.exp(-decay) * math.expm1(-decay * falling) / math.expm1(-decay)
    return math.floor(min(step, start) + geometric + least * (steps - falling) + 1e-9)


def apply(factor: Tensor, matrix: Tensor, *, transposed: bool = False) -> Tensor:
    """Return factor @ matrix, or factor^T @ matrix; a vector is a diagonal matrix."""
    if factor.ndim == 3:
        return triangular_product(factor, matrix, transposed=transposed)
    return factor.unsqueeze(-1) * matrix


def update_factors_(left: Tensor, right: Tensor, average: Tensor, noise: Tensor, *, lr: float) -> None:
    """Apply the update of Q_L and Q_R of :class:`PSGDKron` in place."""
    damping = average.abs().mean(dim=(-2, -1), keepdim=True) * torch.finfo(torch.float32).eps ** 0.5
    damped = average + damping * noise
    a = apply(right, apply(left, damped).mT).mT
    b = unapply(right, unapply(left, noise.expand_as(average)).mT).mT
    for factor, one, other in ((left, a, b), (right, a.mT, b.mT)):
        if factor.ndim == 3:
            first, second = gram(one), gram(other)
            bound = spectral_bound(first + second).clamp_min_(torch.finfo(factor.dtype).tiny)
            subtract_product_(factor, first.sub_(second).triu_().mul_(lr / bound))
        else:
            first, second = one.square().sum(-1), other.square().sum(-1)
            bound = (first + second).amax(-1, keepdim=True).clamp_min_(torch.finfo(factor.dtype).tiny)
            factor.sub_((first - second).mul_(lr / bound) * factor)


def unapply(factor: Tensor, matrix: Tensor) -> Tensor:
    """Return factor^(-T) @ matrix."""
    if factor.ndim == 3:
        return torch.linalg.solve_triangular(factor.mT, matrix, upper=False)
    return matrix / factor.unsqueeze(-1)


def spectral_bound(matrices: Tensor) -> Tensor:
    """Return a lower bound of the spectral norm of symmetric matrices, ``(batch, 1, 1)``."""
    peak = matrices.abs().amax(dim=(-2, -1), keepdim=True)
    scaled = matrices / torch.where(peak > 0, peak, 1.0)
    longest = scaled.square().sum(-2).argmax(-1)
    x = scaled.gather(-1, longest[:, None, None].expand(-1, scaled.shape[-2], 1))
    x = scaled.mT @ x
    x = x / torch.linalg.vector_norm(x, dim=-2, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    return torch.linalg.vector_norm(scaled @ x, dim=-2, keepdim=True) * peak


def balance_(left: Tensor, right: Tensor) -> None:
    """Rescale both factors to the same largest element without changing their product."""
    peaks = [factor.flatten(1).abs().amax(-1) for factor in (left, right)]
    ratio = (peaks[1] / peaks[0]).sqrt_()
    left.mul_(ratio.view(-1, *[1] * (left.ndim - 1)))
    right.div_(ratio.view(-1, *[1] * (right.ndim - 1)))
