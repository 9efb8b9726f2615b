"""Turbo-Muon: Muon with preconditioned rows and four Newton-Schulz iterations instead of five."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from ultra_core.contracts import Range
from ultra_optim.contract.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.decay import DecayRule
from ultra_optim.families.matrices import ADAMW_STATE
from ultra_optim.families.muon import MuonFamily
from ultra_optim.families.orthogonal import ALMOST_ORTHOGONAL, AdjustLR


class TurboMuon(MuonFamily):
    """Turbo-Muon (Boissin et al. 2025, arXiv 2512.04632): Muon with almost orthogonal rows at the start.

    As :class:`ultra_optim.Muon`, but row i of the normalised D (of its transpose if D is tall) is first
    divided by the root of sum_j |(D D^T)_ij|, and four iterations with different coefficients follow instead
    of five. The result is closer to orthogonal than with Muon and costs about a fifth less. It is the polar
    factor of the matrix with rescaled rows, which differs from that of Muon where rows differ in size.

    Differs from the paper: D is divided by its Frobenius norm before the rescaling, so that the step does not
    depend on the size of the gradient.

    State: n. Treats: matrices, AdamW the rest.

    Args:
        params: groups with a ``kind``, from ``ultra_optim.param_groups(model)``, which
            ``ultra_optim.create("turbo_muon", model)`` calls.
        lr: learning rate.
        weight_decay: decoupled, multiplied by the learning rate, in both parts.
        momentum: decay rate of the momentum.
        nesterov: use Nesterov momentum.
        ns_steps: Newton-Schulz iterations; those after the fourth repeat the last coefficients.
        ns_eps: smallest sum of |G G^T| over a row in the rescaling; 0 for no lower bound.
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
        state_dtype="wide",
        gradient_scale="invariant",
        state_per_element=1,
        matrix=True,
        max_update_rms=1.1,
        max_condition=1.15 / 0.85,
    )
    reference: ClassVar[str] = "ultra_optim.reference.orthogonal:turbo_muon"
    state_names: ClassVar[frozenset[str]] = ADAMW_STATE | {"momentum_buffer"}
    rescale_rows = True

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        weight_decay: WeightDecay = 0.1,
        momentum: Beta = 0.95,
        nesterov: bool = True,
        ns_steps: Annotated[int, Range(min=1, max=30)] = 4,
        ns_eps: Epsilon = 0.0,
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
            "nesterov": nesterov,
            "ns_steps": ns_steps,
            "ns_eps": ns_eps,
            "ns_coefficients": ALMOST_ORTHOGONAL,
            "adjust_lr_fn": adjust_lr_fn,
            "adamw_lr": adamw_lr,
            "betas": betas,
            "eps": eps,
            "decay_rule": decay_rule,
        }
        super().__init__(params, defaults)
