"""AdaMuon: Muon with an element-wise second moment."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.contract.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.decay import DecayRule
from ultra_optim.families.matrices import ADAMW_STATE, matrices_in, matrix_layout
from ultra_optim.families.muon import MuonFamily
from ultra_optim.families.orthogonal import QUINTIC


class AdaMuon(MuonFamily):
    """AdaMuon (Si et al. 2025, arXiv 2507.11005).

    Groups of kind ``matrix`` and ``expert``, with D the momentum of :class:`ultra_optim.Muon` for one logical
    matrix (r, c):

    O = NS(sign(D));  V <- b2 V + (1 - b2) O^2;  P = O / (sqrt(V / (1 - b2^t)) + eps)
    W <- (1 - lr wd) W - lr 0.2 sqrt(r c) P / |P|_F

    so that the root mean square of every step is 0.2 lr, about that of AdamW.

    Differs from the paper: its algorithm has neither Nesterov momentum (``nesterov=False``) nor bias
    correction of V; the authors' published code has both. Bias correction multiplies the whole matrix, which
    the normalisation undoes except in the term with eps.
    Differs from pytorch_optimizer's AdaMuon, which is ``sign=False, nesterov=False``.

    State: 2n. Treats: matrices, AdamW the rest.

    Args:
        params: groups with a ``kind``, from ``ultra_optim.param_groups(model)``, which
            ``ultra_optim.create("adamuon", model)`` calls.
        lr: learning rate.
        weight_decay: decoupled, multiplied by the learning rate, in both parts.
        momentum: decay rate of the momentum.
        beta2: decay rate of V.
        nesterov: use Nesterov momentum.
        sign: orthogonalise the signs of D instead of D.
        ns_steps: Newton-Schulz iterations.
        ns_eps: added to the norm that the gradient is divided by; 0 makes the step independent of its size.
        ns_coefficients: coefficients a, b, c of the iteration.
        adamw_lr: learning rate of AdamW groups that do not set one; ``lr`` if None.
        betas: decay rates of AdamW's moments.
        eps: added to the denominator, in both parts.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.

    Raises:
        ValueError: a group has no ``kind``, a parameter of kind ``matrix`` is not a matrix, a hyperparameter
            is out of range, a parameter is listed twice, a state dict belongs to another optimizer, or a
            gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        state_dtype="wide", gradient_scale="invariant", state_per_element=2, matrix=True, max_update_rms=1.1
    )
    reference: ClassVar[str] = "ultra_optim.reference.orthogonal:adamuon"
    state_names: ClassVar[frozenset[str]] = ADAMW_STATE | {"momentum_buffer", "direction_sq", "step"}

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        weight_decay: WeightDecay = 0.1,
        momentum: Beta = 0.95,
        beta2: Beta = 0.95,
        nesterov: bool = True,
        sign: bool = True,
        ns_steps: Annotated[int, Range(min=1, max=30)] = 5,
        ns_eps: Epsilon = 0.0,
        ns_coefficients: tuple[float, float, float] = QUINTIC,
        adamw_lr: LearningRate | None = None,
        betas: tuple[Beta, Beta] = (0.9, 0.95),
        eps: Epsilon = 1e-8,
        decay_rule: DecayRule = "plain",
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "beta2": beta2,
            "nesterov": nesterov,
            "sign": sign,
            "ns_steps": ns_steps,
            "ns_eps": ns_eps,
            "ns_coefficients": ns_coefficients,
            "adjust_lr_fn": "spectral",  # the normalisation undoes it
            "adamw_lr": adamw_lr,
            "betas": betas,
            "eps": eps,
            "decay_rule": decay_rule,
        }
        super().__init__(params, defaults)

    def update_momentum(self, group: dict[str, Any], params: list[Tensor], directions: list[Tensor]) -> None:
        """Update the momenta and write their signs to ``directions``."""
        super().update_momentum(group, params, directions)
        if group["sign"]:
            torch._foreach_sign_(directions)

    def rescale_directions(
        self, group: dict[str, Any], params: list[Tensor], directions: list[Tensor]
    ) -> None:
        """Divide each element by the root of its second moment, then set the norm of each matrix."""
        layout = matrix_layout(group)
        by_tensor = dict(zip(params, directions, strict=True))
        for step, same in self.count(params).items():
            self.run_update(
                second_moment_update,
                same,
                self.zeros(same, "direction_sq"),
                [by_tensor[p] for p in same],
                step=step,
                beta2=group["beta2"],
                eps=group["eps"],
            )
        for p, direction in by_tensor.items():
            for matrix in matrices_in(direction, *layout[p]):
                norm = torch.linalg.vector_norm(matrix, dim=(-2, -1), keepdim=True)
                size = 0.2 * math.sqrt(matrix.shape[-2] * matrix.shape[-1])
                matrix.mul_(torch.where(norm > 0, size / norm, 0.0))


def second_moment_update(
    params: list[Tensor],
    grads: list[Tensor],
    second: list[Tensor],
    directions: list[Tensor],
    *,
    step: int,
    beta2: float,
    eps: float,
) -> None:
    """Update V and divide the directions by its root, in place."""
    torch._foreach_mul_(second, beta2)
    torch._foreach_addcmul_(second, directions, directions, 1 - beta2)
    denominators = torch._foreach_sqrt(second)
    torch._foreach_div_(denominators, (1 - beta2**step) ** 0.5)
    torch._foreach_add_(denominators, eps)
    torch._foreach_div_(directions, denominators)
