"""MuonClip: Muon, and queries and keys whose logits stay below a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, distributed, nn

from ultra_core.contracts import LogitRows, Range, RecordsLogits
from ultra_core.errors import PluginError
from ultra_optim.base import wide_dtype
from ultra_optim.contract.checks import INFINITY, Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.decay import DecayRule
from ultra_optim.families.matrices import ADAMW_STATE
from ultra_optim.families.muon import MuonFamily
from ultra_optim.families.orthogonal import QUINTIC, AdjustLR
from ultra_optim.roles.groups import Modules

NO_MODEL = (
    "MuonClip must know the attention blocks whose logits it bounds: use "
    "ultra_optim.build('muonclip', model), or pass model=model beside ultra_optim.param_groups(model)"
)
NO_TARGET = (
    "MuonClip finds no attention whose logits it could bound. It needs blocks that record them "
    "(ultra_core.contracts.RecordsLogits) and whose projections of q and k are trained: of ultra's blocks "
    "standard_attn, gqa_attn, gated_softmax_attn, sigmoid_attn, fox_attn, latent_attn and ode, without "
    "qk_norm, which bounds logits by itself, and without BitNet projections. Use muon for other models"
)
NOT_RECORDED = (
    "MuonClip: no attention logits were recorded since the last step. Blocks record them in forward passes "
    "in training mode with gradients: call model.train() before, and step() once after the backward passes"
)


class MuonClip(MuonFamily):
    """MuonClip (Kimi Team 2025, arXiv 2507.20534): Muon with QK-clip.

    After the step of :class:`ultra_optim.Muon`, for every head h whose largest logit S_h over the batches of
    this step exceeds the bound t, with a the share of the query:

    gamma_h = min(1, t / S_h);  W_q,h <- gamma_h^a W_q,h;  W_k,h <- gamma_h^(1 - a) W_k,h

    so that the same input gives logits gamma_h times as large. S_h is taken over the pairs of real tokens
    that attend to each other, positions applied and scaled, before a soft cap and before what a block adds
    (biases, decays); accumulated batches and the processes of a distributed run count together. Shifts are
    scaled like their weights.

    Where query heads share a key head it takes the smallest gamma^(1 - a) of its heads, and each query
    gamma_h over that, so that a query may grow while its logits do not. In latent attention the queries and
    keys that heads have of their own are scaled so, the rotated query of head h by gamma_h, and the rotated
    key, which all heads share, not at all.

    Blocks say themselves what is to be scaled (:class:`ultra_core.contracts.RecordsLogits`): softmax and sigmoid
    attention, ``titan_attn`` without memory and persistent tokens, latent attention, the attention inside
    ``ode``. Those with QK-norm, whose logits are bounded already, with quantised projections or with frozen
    ones are left as they are, and so are sparse attention, every other ``titan_attn`` and all that is not
    attention. From the constructor on the blocks record, which costs a product of queries and keys more;
    ``block.record_logits(False)`` ends it. Maxima are no state: between steps there are none, and what is
    saved between the batches of one step forgets those before. With ``build`` there is nothing else to do::

        optimizer = ultra_optim.build("muonclip", model, lr=1e-3)
        loss.backward()
        optimizer.step()

    Differs from the paper: momentum as in :class:`ultra_optim.Muon`; grouped heads, which the paper leaves
    open, as above. S_h is the paper's, the largest logit, not the largest absolute value of its authors'
    first text. Differs from Megatron-LM: there a group is scaled as a whole by its largest logit. Differs
    from pytorch_optimizer: there the loop passes the maxima, there is no Nesterov, and a key head that
    queries share is cut into as many pieces, which breaks up its logits.

    State: n. Treats: matrices, AdamW the rest.

    Args:
        params: groups that say ``kind``, from ``ultra_optim.param_groups(model)``; or
            ``ultra_optim.build("muonclip", model)`` does both.
        model: the module, or several, whose blocks record; ``build`` passes it.
        lr: learning rate.
        weight_decay: decoupled, multiplied by the learning rate, in both parts.
        momentum: decay rate mu of the momentum.
        nesterov: look ahead.
        ns_steps: Newton-Schulz iterations.
        ns_eps: added to the norm that the iteration divides by; 0 makes the step independent of it.
        ns_coefficients: their a, b, c.
        adjust_lr_fn: the scale of the step, as for Muon.
        qk_clip_threshold: the bound t on logits.
        qk_clip_alpha: the share a of the query; the rest is the key's.
        adamw_lr: learning rate of AdamW groups that set none; None takes ``lr``.
        betas: decay rates of AdamW's moments.
        eps: added to AdamW's denominator.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.

    Raises:
        ValueError: no model, or none of its blocks has logits to bound; bare tensors, a group without
            ``kind``, a matrix that is none, a hyperparameter out of range, a parameter listed twice, a
            foreign state dict, a sparse gradient.
        RuntimeError: a step for which nothing was recorded.
        PluginError: what a block says of its rows does not fit its parameters.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        gradient_scale="invariant",
        state_per_element=1,
        matrix=True,
        max_update_rms=1.1,
        needs_logits=True,
        max_condition=1.25 / 0.65,
    )
    state_names: ClassVar[frozenset[str]] = ADAMW_STATE | {"momentum_buffer"}

    def __init__(
        self,
        params: Any,
        *,
        model: Modules | None = None,
        lr: LearningRate = 1e-3,
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
        self._taken: list[tuple[Target, Tensor]] = []

    def prepare(self) -> None:
        """Look at the gradients and take the maxima before anything is changed.

        Raises:
            RuntimeError: nothing was recorded in any process, although a block to be clipped has gradients.
        """
        super().prepare()
        moving = [all(p.grad is not None for p, _ in target.rows) for target in self.targets]
        maxima = [
            target.block.take_max_logits() if moves else None
            for target, moves in zip(self.targets, moving, strict=True)
        ]
        moves_anywhere, *found = anywhere(
            [any(moving), *(m is not None for m in maxima)], self.targets[0].device
        )
        if moves_anywhere and not any(found):
            raise RuntimeError(NOT_RECORDED)
        self._taken = [
            (target, target.no_maxima() if m is None else m)
            for target, m, some in zip(self.targets, maxima, found, strict=True)
            if some
        ]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient, then scale queries and keys; see the class.

        Args:
            closure: evaluates the loss and its gradients first.

        Returns:
            what the closure returned, else None.

        Raises:
            ValueError: a gradient is sparse; nothing was changed.
            RuntimeError: nothing was recorded for this step; nothing was changed.
        """
        loss = super().step(closure)
        groups = {id(p): group for group in self.param_groups for p in group["params"]}
        for target, maxima in self._taken:
            if among_others():
                maxima = maxima.to(target.device, target.dtype)
                distributed.all_reduce(maxima, distributed.ReduceOp.MAX)
            options = groups[id(target.rows[0][0])]
            target.scale(
                clip_factors(
                    maxima,
                    threshold=options["qk_clip_threshold"],
                    alpha=options["qk_clip_alpha"],
                    key_heads=target.key_heads,
                )
            )
        self._taken = []
        return loss


class Target(NamedTuple):
    """A block whose logits are bounded, the rows to scale, each with its parameter, and its key heads."""

    block: RecordsLogits
    rows: list[tuple[nn.Parameter, LogitRows]]
    key_heads: int

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return self.rows[0][0].device

    @property
    def dtype(self) -> torch.dtype:
        """Of maxima on their way between processes."""
        return wide_dtype(self.rows[0][0])

    def no_maxima(self) -> Tensor:
        """Return what a process contributes that recorded none: -inf for each head."""
        heads = next(rows.heads for _, rows in self.rows if rows.part != "key")
        return torch.full((heads,), -INFINITY, dtype=self.dtype, device=self.device)

    def scale(self, factors: dict[str, Tensor]) -> None:
        """Multiply the rows of each head by the factor of their part."""
        for parameter, rows in self.rows:
            heads = parameter[rows.start : rows.stop].unflatten(0, (rows.heads, rows.width))
            heads.mul_(factors[rows.part].to(heads.device).view(-1, *[1] * (heads.ndim - 1)))


def among_others() -> bool:
    """Whether this is one of the processes of a distributed run."""
    return distributed.is_available() and distributed.is_initialized()


def anywhere(flags: list[bool], device: torch.device) -> list[bool]:
    """Return which flags are set in any process, so that all of them decide alike what to wait for."""
    if not among_others():
        return flags
    found = torch.tensor(flags, dtype=torch.int32, device=device)
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return [bool(flag) for flag in found.tolist()]


def find_targets(model: Modules) -> Iterator[Target]:
    """Yield the blocks of a model, or of several modules, that record logits and say what to scale.

    Raises:
        PluginError: a block names a parameter that it has not, or other rows than it has heads.
    """
    seen: set[int] = set()
    for root in [model] if isinstance(model, nn.Module) else model:
        for module in root.modules():
            if id(module) in seen or not isinstance(module, RecordsLogits):
                continue
            seen.add(id(module))
            if rows := module.logit_rows():
                yield _target(module, rows)


def _target(block: Any, rows: tuple[LogitRows, ...]) -> Target:
    parameters = dict(block.named_parameters())
    for one in rows:
        if one.parameter not in parameters or len(parameters[one.parameter]) < one.stop:
            raise PluginError(f"{type(block).__name__}.logit_rows() names rows that it has not: {one}")
    heads = {one.heads for one in rows if one.part != "key"}
    groups = {one.heads for one in rows if one.part == "key"}
    if len(heads) != 1 or len(groups) != 1 or next(iter(heads)) % next(iter(groups)):
        raise PluginError(
            f"{type(block).__name__}.logit_rows() must have queries of H heads and keys of G, G dividing H; "
            f"it has queries of {sorted(heads)} and keys of {sorted(groups)}"
        )
    return Target(block, [(parameters[one.parameter], one) for one in rows], next(iter(groups)))


def clip_factors(maxima: Tensor, *, threshold: float, alpha: float, key_heads: int) -> dict[str, Tensor]:
    """Return the factors of the parts of :class:`ultra_core.contracts.LogitRows`, one a head.

    Args:
        maxima: largest logit of each head ``(H,)``. One that is not finite clips nothing: what overflowed in
            a forward pass says nothing about the weights.
        threshold: the bound.
        alpha: the share of the query.
        key_heads: G; each serves ``H / G`` neighbouring heads.
    """
    gamma = torch.where(maxima.isfinite(), threshold / maxima.clamp(min=threshold), 1.0)
    keys = gamma.unflatten(0, (key_heads, -1)).amin(1) ** (1 - alpha)
    return {
        "query": gamma / keys.repeat_interleave(len(gamma) // key_heads),
        "key": keys,
        "lone_query": gamma,
    }
