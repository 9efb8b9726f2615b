"""MARS-M: Muon on variance-reduced gradients."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.contract.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.decay import DecayRule
from ultra_optim.engine.operations import copy_
from ultra_optim.families.matrices import ADAMW_STATE, matrices_in, matrix_layout
from ultra_optim.families.muon import MuonFamily, momentum_update
from ultra_optim.families.orthogonal import QUINTIC, AdjustLR


class MARSMuon(MuonFamily):
    """MARS-M (Liu et al. 2025, arXiv 2510.21800), approximate: without a second backward pass.

    Groups of kind ``matrix`` and ``expert``, with G the gradient of one logical matrix:

    C = G + gamma mu / (1 - mu) (G - G_previous);  C <- C / max(1, |C|_F);  B <- mu B + (1 - mu) C

    B, or mu B + (1 - mu) C with ``nesterov``, is then orthogonalised as in :class:`ultra_optim.Muon`. In the
    first step G_previous is 0.

    Differs from the paper: nothing in its approximate version. The norm is that of one logical matrix, which
    may be a row block or an expert.

    State: 2n. Treats: matrices, AdamW the rest.

    Args:
        params: groups with a ``kind``, from ``ultra_optim.param_groups(model)``, which
            ``ultra_optim.create("mars_muon", model)`` calls.
        lr: learning rate.
        weight_decay: decoupled, multiplied by the learning rate, in both parts.
        momentum: decay rate mu of the momentum.
        gamma: strength of the correction.
        nesterov: use Nesterov momentum.
        ns_steps: Newton-Schulz iterations.
        ns_eps: added to the norm that the gradient is divided by; 0 makes the step independent of its size.
        ns_coefficients: coefficients a, b, c of the iteration.
        adjust_lr_fn: the scale of the step, as for Muon.
        adamw_lr: learning rate of AdamW groups that do not set one; ``lr`` if None.
        betas: decay rates of AdamW's moments.
        eps: added to AdamW's denominator.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.

    Raises:
        ValueError: a group has no ``kind``, a parameter of kind ``matrix`` is not a matrix, a hyperparameter
            is out of range, a parameter is listed twice, a state dict belongs to another optimizer, or a
            gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        state_dtype="wide", state_per_element=2, matrix=True, max_update_rms=1.1, max_condition=1.25 / 0.65
    )
    reference: ClassVar[str] = "ultra_optim.reference.orthogonal:mars_muon"
    state_names: ClassVar[frozenset[str]] = ADAMW_STATE | {"momentum_buffer", "last_grad"}

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        weight_decay: WeightDecay = 0.1,
        momentum: Beta = 0.95,
        gamma: Annotated[float, Range(min=0)] = 0.025,
        nesterov: bool = False,
        ns_steps: Annotated[int, Range(min=1, max=30)] = 5,
        ns_eps: Epsilon = 0.0,
        ns_coefficients: tuple[float, float, float] = QUINTIC,
        adjust_lr_fn: AdjustLR = "match_rms_adamw",
        adamw_lr: LearningRate | None = None,
        betas: tuple[Beta, Beta] = (0.9, 0.95),
        eps: Epsilon = 1e-8,
        decay_rule: DecayRule = "plain",
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "gamma": gamma,
            "nesterov": nesterov,
            "ns_steps": ns_steps,
            "ns_eps": ns_eps,
            "ns_coefficients": ns_coefficients,
            "adjust_lr_fn": adjust_lr_fn,
            "adamw_lr": adamw_lr,
            "betas": betas,
            "eps": eps,
            "decay_rule": decay_rule,
        }
        super().__init__(params, defaults)

    def update_momentum(self, group: dict[str, Any], params: list[Tensor], directions: list[Tensor]) -> None:
        """Correct the gradients, update the momenta with them, and copy the momenta to ``directions``."""
        strength = group["gamma"] * group["momentum"] / (1 - group["momentum"])
        corrected = [torch.empty_like(d) for d in directions]
        self.run_update(
            corrected_gradients, params, self.zeros(params, "last_grad"), corrected, strength=strength
        )
        layout = matrix_layout(group)
        for p, c in zip(params, corrected, strict=True):
            for matrix in matrices_in(c, *layout[p]):
                norm = torch.linalg.vector_norm(matrix, dim=(-2, -1), keepdim=True)
                matrix.div_(norm.clamp_min(1.0))
        self.run_update(
            momentum_of_corrected,
            params,
            self.zeros(params, "momentum_buffer"),
            directions,
            corrected,
            momentum=group["momentum"],
            nesterov=group["nesterov"],
        )


def corrected_gradients(
    params: list[Tensor],
    grads: list[Tensor],
    previous: list[Tensor],
    corrected: list[Tensor],
    *,
    strength: float,
) -> None:
    """Write G + strength (G - G_previous) to ``corrected`` and G to ``previous``."""
    del params
    copy_(corrected, previous)
    torch._foreach_lerp_(corrected, grads, 1 + strength)
    copy_(previous, grads)


def momentum_of_corrected(
    params: list[Tensor],
    grads: list[Tensor],
    momenta: list[Tensor],
    directions: list[Tensor],
    corrected: list[Tensor],
    **options: Any,
) -> None:
    """Apply :func:`ultra_optim.families.muon.momentum_update` to C instead of the gradients."""
    momentum_update(params, corrected, momenta, directions, **options)
