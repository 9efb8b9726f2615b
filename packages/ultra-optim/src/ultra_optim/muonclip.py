"""MuonClip: Muon with QK-clip, which limits the attention logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, distributed

from ultra_core.contracts import Range
from ultra_optim.contract.checks import INFINITY, Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.decay import DecayRule
from ultra_optim.families.matrices import ADAMW_STATE
from ultra_optim.families.muon import MuonFamily
from ultra_optim.families.orthogonal import QUINTIC, AdjustLR
from ultra_optim.families.qk_clip import Target, clip_factors, find_targets, in_any_process, is_distributed
from ultra_optim.roles.groups import Modules

NO_MODEL = (
    "MuonClip needs the attention blocks whose logits it limits: use "
    "ultra_optim.create('muonclip', model), or pass model=model together with ultra_optim.param_groups(model)"
)
NO_TARGET = (
    "MuonClip finds no attention block whose logits it can limit. It needs blocks that record them "
    "(ultra_core.contracts.RecordsLogits) and whose projections of q and k are trained; of ultra's blocks: "
    "standard_attn, gqa_attn, gated_softmax_attn, sigmoid_attn, fox_attn, latent_attn and ode, without "
    "qk_norm, which limits the logits already, and without BitNet projections. Use muon for other models"
)
NOT_RECORDED = (
    "MuonClip: no attention logits were recorded since the last step. Blocks record them in forward passes "
    "in training mode with gradients: call model.train() before, and step() once after the backward passes"
)


class MuonClip(MuonFamily):
    """MuonClip (Kimi Team 2025, arXiv 2507.20534): Muon with QK-clip.

    After the step of :class:`ultra_optim.Muon`, for every head h whose largest logit S_h over the batches of
    this step exceeds the threshold t, with a the share of the query:

    gamma_h = min(1, t / S_h);  W_q,h <- gamma_h^a W_q,h;  W_k,h <- gamma_h^(1 - a) W_k,h

    so that the logits of the same input are multiplied by gamma_h. S_h is the maximum over all pairs of real
    tokens that attend to each other, after positions and scaling and before a soft cap and additive terms
    (position biases, decays), over accumulated batches and over all processes of a distributed run. Biases of
    the projections are scaled like their weights.

    A key head that several query heads share is multiplied by the smallest gamma^(1 - a) of these heads, and
    each query by gamma_h divided by that factor; a query may grow, but its logits do not. In latent attention
    this applies to the queries and keys of each head; the rotated query of head h is multiplied by gamma_h,
    and the rotated key, which all heads share, is not changed.

    Blocks declare which rows are scaled (:class:`ultra_core.contracts.RecordsLogits`): softmax and sigmoid
    attention, ``titan_attn`` without memory and persistent tokens, latent attention, and the attention inside
    ``ode``. Not changed are blocks with QK-norm, whose logits are limited already, with quantised or frozen
    projections, sparse attention, every other ``titan_attn`` and blocks without attention. The constructor
    switches recording on, which costs one more product of queries and keys; ``block.record_logits(False)``
    switches it off. Maxima are not part of the state: there are none between steps, and a checkpoint that is
    saved between the batches of one step loses those of earlier batches. With ``build`` nothing else is
    needed::

        optimizer = ultra_optim.create("muonclip", model, lr=1e-3)
        loss.backward()
        optimizer.step()

    Differs from the paper: the momentum is that of :class:`ultra_optim.Muon`; grouped heads, which the paper
    does not mention, are treated as above. S_h is the largest logit as in the paper, not the largest absolute
    value as in the authors' first publication.
    Differs from Megatron-LM, which scales a group as a whole by its largest logit.
    Differs from pytorch_optimizer, where the training loop passes the maxima, there is no Nesterov momentum,
    and a shared key head is split into one part for each query head, which changes its logits.

    State: n. Treats: matrices, AdamW the rest.

    Args:
        params: groups with a ``kind``, from ``ultra_optim.param_groups(model)``, which
            ``ultra_optim.create("muonclip", model)`` calls.
        model: the module or modules whose blocks record their logits; ``build`` passes it.
        lr: learning rate.
        weight_decay: decoupled, multiplied by the learning rate, in both parts.
        momentum: decay rate mu of the momentum.
        nesterov: use Nesterov momentum.
        ns_steps: Newton-Schulz iterations.
        ns_eps: added to the norm that the gradient is divided by; 0 makes the step independent of its size.
        ns_coefficients: coefficients a, b, c of the iteration.
        adjust_lr_fn: the scale of the step, as for Muon.
        qk_clip_threshold: the threshold t of the logits.
        qk_clip_alpha: the share a of the query; the share of the key is 1 - a.
        adamw_lr: learning rate of AdamW groups that do not set one; ``lr`` if None.
        betas: decay rates of AdamW's moments.
        eps: added to AdamW's denominator.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.

    Raises:
        ValueError: there is no model, or no block whose logits can be limited; a group has no ``kind``, a
            parameter of kind ``matrix`` is not a matrix, a hyperparameter is out of range, a parameter is
            listed twice, a state dict belongs to another optimizer, or a gradient is sparse.
        RuntimeError: no logits were recorded for a step.
        PluginError: the rows that a block declares do not fit its parameters.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        state_dtype="wide",
        gradient_scale="invariant",
        state_per_element=1,
        matrix=True,
        max_update_rms=1.1,
        needs_logits=True,
        max_condition=1.25 / 0.65,
    )
    reference: ClassVar[str] = "ultra_optim.reference.orthogonal:muonclip"
    state_names: ClassVar[frozenset[str]] = ADAMW_STATE | {"momentum_buffer"}

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        model: Modules | None = None,
        weight_decay: WeightDecay = 0.1,
        momentum: Beta = 0.95,
        nesterov: bool = True,
        ns_steps: Annotated[int, Range(min=1, max=30)] = 5,
        ns_eps: Epsilon = 0.0,
        ns_coefficients: tuple[float, float, float] = QUINTIC,
        adjust_lr_fn: AdjustLR = "match_rms_adamw",
        qk_clip_threshold: Annotated[float, Range(gt=0, lt=INFINITY)] = 100.0,
        qk_clip_alpha: Annotated[float, Range(min=0, max=1)] = 0.5,
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
            "qk_clip_threshold": qk_clip_threshold,
            "qk_clip_alpha": qk_clip_alpha,
            "adamw_lr": adamw_lr,
            "betas": betas,
            "eps": eps,
            "decay_rule": decay_rule,
        }
        super().__init__(params, defaults)
        if model is None:
            raise ValueError(NO_MODEL)
        trained = {id(p) for group in self.param_groups for p in group["params"]}
        self.targets = [t for t in find_targets(model) if all(id(p) in trained for p, _ in t.rows)]
        if not self.targets:
            raise ValueError(NO_TARGET)
        for target in self.targets:
            target.block.record_logits(True)
        self._maxima: list[tuple[Target, Tensor]] = []

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled, the blocks that are clipped included."""
        return {**super().__getstate__(), "targets": self.targets, "_maxima": self._maxima}

    def replace_parameters(self, replacements: Mapping[Tensor, Tensor]) -> None:
        """Clip other tensors in the place of the parameters, as training with sharded parameters does."""
        self.targets = [target.replaced(replacements) for target in self.targets]

    def prepare(self) -> None:
        """Check the gradients and collect the maxima before anything is changed.

        Raises:
            RuntimeError: no process recorded logits, although a block to be clipped has gradients.
        """
        super().prepare()
        moving = [
            all(p.grad is not None or p in self.moved_elsewhere for p, _ in target.rows)
            for target in self.targets
        ]
        maxima = [
            target.block.take_max_logits() if moves else None
            for target, moves in zip(self.targets, moving, strict=True)
        ]
        moves_anywhere, *found = in_any_process(
            [any(moving), *(m is not None for m in maxima)], self.targets[0].device
        )
        if moves_anywhere and not any(found):
            raise RuntimeError(NOT_RECORDED)
        self._maxima = [
            (target, target.no_maxima() if m is None else m)
            for target, m, recorded in zip(self.targets, maxima, found, strict=True)
            if recorded
        ]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient, then scale queries and keys.

        Args:
            closure: evaluates the loss and its gradients first.

        Returns:
            the value of the closure, or None.

        Raises:
            ValueError: a gradient is sparse; nothing was changed.
            RuntimeError: no logits were recorded for this step; nothing was changed.
        """
        loss = super().step(closure)
        groups = {id(p): group for group in self.param_groups for p in group["params"]}
        for target, maxima in self._maxima:
            if is_distributed():
                maxima = maxima.to(target.device, target.dtype)
                distributed.all_reduce(maxima, distributed.ReduceOp.MAX)
            options = groups[id(target.rows[0][0])]
            target.scale(
                clip_factors(
                    maxima,
                    threshold=options["qk_clip_threshold"],
                    alpha=options["qk_clip_alpha"],
                    key_heads=target.key_heads,
                ),
                skipped=self.moved_elsewhere,
            )
        self._maxima = []
        return loss
