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

    so that every step has the root mean square 0.2 lr, about AdamW's.

    Differs from the paper: its algorithm neither looks ahead (``nesterov=False``) nor corrects V for its
    start; the authors' published code does both. The correction is a factor of the matrix, which its norm
    takes out again but for the part in eps.
    Differs from pytorch_optimizer's AdaMuon, which takes no sign and does not look ahead: ``sign=False,
    nesterov=False`` is its method.

    State: 2n. Treats: matrices, AdamW the rest.

    Args:
        params: groups that say ``kind``, from ``ultra_optim.param_groups(model)``; or
            ``ultra_optim.build("adamuon", model)`` does both.
        lr: learning rate.
        weight_decay: decoupled, multiplied by the learning rate, in both parts.
        momentum: decay rate of the momentum.
        beta2: decay rate of V.
        nesterov: look ahead.
        sign: orthogonalise the signs of D instead of D.
        ns_steps: Newton-Schulz iterations.
        ns_eps: added to the norm that the iteration divides by; 0 makes the step independent of it.
        ns_coefficients: their a, b, c.
        adamw_lr: learning rate of AdamW groups that set none; None takes ``lr``.
        betas: decay rates of AdamW's moments.
        eps: added to the denominator, in both parts.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.

    Raises:
        ValueError: bare tensors, a group without ``kind``, a matrix that is none, a hyperparameter out of
            range, a parameter listed twice, a foreign state dict, a sparse gradient.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        gradient_scale="invariant", state_per_element=2, matrix=True, max_update_rms=1.1
    )
    state_names: ClassVar[frozenset[str]] = ADAMW_STATE | {"momentum_buffer", "direction_sq", "step"}

    def __init__(
        self,
        params: Any,
        *,
        lr: LearningRate = 1e-3,
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
            "adjust_lr_fn": "spectral",  # taken out again by the norm
            "adamw_lr": adamw_lr,
            "betas": betas,
            "eps": eps,
            "decay_rule": decay_rule,
        }
        super().__init__(params, defaults)

    def look_ahead(self, group: dict[str, Any], params: list[Tensor], directions: list[Tensor]) -> None:
        """Update the momenta and write their signs to ``directions``."""
        super().look_ahead(group, params, directions)
        if group["sign"]:
            torch._foreach_sign_(directions)

    def adapt(self, group: dict[str, Any], params: list[Tensor], directions: list[Tensor]) -> None:
        """Divide each element by the root of its running square; give each matrix its norm."""
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
