"""Muon for hidden matrices and AdamW for everything else, in one optimizer."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from ultra_core.contracts import Range
from ultra_optim.contract.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.decay import DecayRule
from ultra_optim.families.matrices import ADAMW_STATE
from ultra_optim.families.muon import MuonFamily
from ultra_optim.families.orthogonal import QUINTIC, AdjustLR


class Muon(MuonFamily):
    """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; arXiv 2502.16982).

    Groups of kind ``matrix`` and ``expert``, with G the gradient of one logical matrix (r, c):

    B <- mu B + (1 - mu) G;  D = mu B + (1 - mu) G with Nesterov, else B
    W <- (1 - lr wd) W - lr s(r, c) NS(D), NS the Newton-Schulz iteration towards U V^T of D = U S V^T

    The scale s is 0.2 sqrt(max(r, c)) (``match_rms_adamw``), sqrt(max(1, r / c)) (``original``) or
    sqrt(r / c) (``spectral``).

    Each row block of a fused projection and each expert of a stacked weight is a matrix of its own; matrices
    of one shape share one batched iteration, in bfloat16 on GPUs that support it and in float32 elsewhere.
    All other groups (embeddings, heads, norms, biases, gates, routers, convolutions) use AdamW.

    Differs from the paper: the momentum is an average (mu B + (1 - mu) G) instead of a sum, which makes no
    difference after the normalisation; the default scale is that of Moonshot, whose updates are as large as
    AdamW's, so that both parts can share one learning rate (``original`` needs about 0.02 and ``adamw_lr``).

    State: n. Treats: matrices, AdamW the rest.

    Args:
        params: groups with a ``kind``, from ``ultra_optim.param_groups(model)``, which
            ``ultra_optim.create("muon", model)`` calls.
        lr: learning rate.
        weight_decay: decoupled, multiplied by the learning rate, in both parts.
        momentum: decay rate mu of the momentum.
        nesterov: use Nesterov momentum.
        ns_steps: Newton-Schulz iterations.
        ns_eps: added to the norm that the gradient is divided by; 0 makes the step independent of its size.
        ns_coefficients: coefficients a, b, c of the iteration.
        adjust_lr_fn: the scale s.
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
        max_condition=1.25 / 0.65,
    )
    reference: ClassVar[str] = "ultra_optim.reference.muon:muon"
    state_names: ClassVar[frozenset[str]] = ADAMW_STATE | {"momentum_buffer"}

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        weight_decay: WeightDecay = 0.1,
        momentum: Beta = 0.95,
        nesterov: bool = True,
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
