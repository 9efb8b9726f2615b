"""A mixture of experts instead of one feed-forward network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ultra_blocks.config import Spec, bare_name, split_spec
from ultra_blocks.ffn.experts import apply, build_experts
from ultra_blocks.functional.experts import Routing, balance_loss, route, z_loss
from ultra_blocks.init import initialise
from ultra_blocks.inputs import check_tokens
from ultra_blocks.layout import Layout, check_layout
from ultra_blocks.linear import LinearFactory, in_high_precision
from ultra_core import ffns
from ultra_core.contracts import FromModel, ParamInfo, Range
from ultra_core.plugins.signatures import bind, require


class MoE(nn.Module):
    """Mixture of experts: each real token is routed to the k experts with the highest scores.

    Per token, with ``z = W_r x`` and ``s = softmax(z)`` (or sigmoid), over the k highest s::

        y = sum_e g_e FFN_e(x) + FFN_shared(x),   g_e = route_scale * s_e / sum s

    Padding is neither routed nor counted, and no token is dropped: tokens are sorted by expert, and each
    expert processes its segment. The router is computed in at least fp32, even under autocast. Two auxiliary
    losses are added in training: ``moe_balance = balance_weight * E sum_e f_e P_e`` (f is the fraction of
    the load and P the mean probability; 1 if either is uniform) and
    ``moe_z = z_weight * mean (logsumexp z)^2``.

    With ``balance: bias``, a bias b balances the loads: the k highest ``s + b`` are selected, and after each
    optimizer step ``b_e += bias_rate * sign(mean load - load_e)``, with the loads of all real tokens that had
    a backward pass since the last step. This is done by :meth:`after_step`, which ``ultra-train`` calls; in a
    custom training loop, call ``ultra_blocks.encoder.after_step(model)``.

    Args:
        hidden_size: width D of the residual stream.
        ffn_hidden_size: inner width F of each expert.
        num_experts: number of experts E.
        top_k: number of experts k that each token is routed to.
        expert: FFN of the experts, ``NAME`` or ``{NAME: {options}}``; it must process tokens independently
            and have no auxiliary losses. The weights of ``mlp`` and ``glu`` are stacked.
        shared_experts: width of a dense FFN that every token passes through, in multiples of F; 0: none.
        routing: the scores s: ``softmax`` of the logits, or ``sigmoid`` of each.
        renormalise: divide the weights g by their sum over the k experts. None: only if k > 1, since with
            k = 1 all weights would be 1 and the router would get no gradient from the task.
        route_scale: factor of the weights g.
        balance: how loads are balanced: ``loss``, or ``bias`` of the scores, with ``routing: sigmoid``.
        bias_rate: change of the bias of an expert per step.
        balance_weight: weight of the balance loss; 0: no such loss. None: 1e-2, or 1e-4 with
            ``balance: bias``.
        z_weight: weight of the z loss; 0: no such loss.
        linear: factory of the projections of experts, but not of the router; BitLinear is quantised per
            expert.
        model: fields of the model config for the options of the experts.

    Shapes:
        x, y: ``(B, T, D)``; y is exactly zero at padding. Returns y in evaluation and ``(y, losses)`` in
        training. Parameters of mlp experts: ``experts.up.weight (E, F, D)``, of glu experts
        ``experts.gate_up.weight (E, 2F, D)``; ``experts.down.weight (E, D, F)``, ``router.weight (E, D)``.
        Buffer with ``balance: bias``: ``score_bias (E,)``, fp32 even in half-precision models.

    Raises:
        ValueError: ``top_k`` exceeds ``num_experts``, an option is out of range, ``balance`` is ``bias``
            without sigmoid scores, or the expert is a mixture of experts.

    Paper: Shazeer et al. 2017, arXiv:1701.06538; balance loss: Fedus et al. 2021, "Switch Transformers",
    arXiv:2101.03961; z loss: Zoph et al. 2022, "ST-MoE", arXiv:2202.08906; shared experts and sigmoid scores:
    DeepSeek-AI 2024, "DeepSeek-V3", arXiv:2412.19437; bias: Wang et al. 2024, arXiv:2408.15664.
    Differs from the paper: no capacity limit, no noise and no groups of experts; the balance loss divides
    loads by k, so that it is 1 for uniform routing, and is computed per micro-batch of a process (per
    sequence in DeepSeek). The bias uses the tokens of all processes.
    """

    variations: ClassVar[Mapping[str, Any]] = {
        "expert": {"expert": "glu"},
        "balance": {"routing": "sigmoid"},
        "bias_rate": {"routing": "sigmoid", "balance": "bias"},
    }
    reference: ClassVar = "ultra_blocks.reference.moe:moe"

    def __init__(
        self,
        hidden_size: int,
        ffn_hidden_size: int,
        *,
        num_experts: Annotated[int, FromModel("num_experts"), Range(min=1)] = 4,
        top_k: Annotated[int, FromModel("top_k_experts"), Range(min=1)] = 2,
        expert: Spec = "mlp",
        shared_experts: Annotated[int, Range(min=0)] = 0,
        routing: Literal["softmax", "sigmoid"] = "softmax",
        renormalise: bool | None = None,
        route_scale: Annotated[float, Range(gt=0)] = 1.0,
        balance: Literal["loss", "bias"] = "loss",
        bias_rate: Annotated[float, Range(gt=0)] = 1e-3,
        balance_weight: Annotated[float, Range(min=0)] | None = None,
        z_weight: Annotated[float, Range(min=0)] = 1e-3,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
        model: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= top_k <= num_experts:
            raise ValueError(f"MoE: top_k must be 1 to num_experts={num_experts}; given {top_k}")
        require(MoE, num_experts=num_experts, top_k=top_k)
        numbers = {"shared_experts": shared_experts, "route_scale": route_scale, "bias_rate": bias_rate}
        weights = {"balance_weight": balance_weight, "z_weight": z_weight}
        require(MoE, **numbers, **weights, routing=routing, balance=balance)
        if balance == "bias" and routing != "sigmoid":
            raise ValueError("MoE: balance 'bias' requires routing 'sigmoid'")
        if balance_weight is None:
            balance_weight = 1e-2 if balance == "loss" else 1e-4
        self.hidden_size = hidden_size
        self.num_experts = num_experts
        self.top_k = top_k
        self.sigmoid = routing == "sigmoid"
        self.renormalise = top_k > 1 if renormalise is None else renormalise
        self.route_scale = route_scale
        self.bias_rate = bias_rate
        self.balance_weight = balance_weight
        self.z_weight = z_weight

        name, options = split_spec(expert)
        if bare_name(name) == "moe":
            raise ValueError("MoE: an expert cannot be a mixture of experts itself; name another FFN")
        cls = ffns.get(name)
        fields = {**(model or {}), "linear": linear}

        def make(width: int = ffn_hidden_size) -> nn.Module:
            sizes = {"hidden_size": hidden_size, "ffn_hidden_size": width, "model": fields}
            built: nn.Module = cls(**bind(cls, options, supplied=sizes, model=fields))
            return built

        self.router = nn.Linear(hidden_size, num_experts, bias=False)
        self.score_bias: Tensor | None
        bias = torch.zeros(num_experts, dtype=torch.float32) if balance == "bias" else None
        self.register_buffer("score_bias", bias)
        self.loads: Tensor | None = None  # of the current step; not part of the state
        self.experts = build_experts(cls, make, num_experts)
        self.shared = make(shared_experts * ffn_hidden_size) if shared_experts else None
        self.reset_parameters()

    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Initialise the router from N(0, std^2), and the experts as their FFN does."""
        nn.init.normal_(self.router.weight, 0.0, std)
        if self.score_bias is not None:
            nn.init.zeros_(self.score_bias)
        initialise(self.experts, std=std, residual_scale=residual_scale)
        initialise(self.shared, std=std, residual_scale=residual_scale)

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the router; experts describe themselves."""
        return {"router.weight": ParamInfo(kind="router", decay=False)}

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Return the branch value ``(B, T, D)``, and in training the losses by name."""
        check_tokens(self, x, self.hidden_size)
        check_layout(x, layout)
        tokens, real = x.flatten(0, 1), None
        if layout is not None and layout.padded:
            real = layout.segments.real
            tokens = tokens.index_select(0, real)
        routing = self.route(tokens)
        y = self._mixed(tokens, routing)
        if self.shared is not None:
            y = y + apply(self.shared, tokens)
        if real is not None:
            y = y.new_zeros(x.shape[0] * x.shape[1], x.shape[2]).index_copy(0, real, y)
        y = y.view(x.shape)
        if not self.training:
            return y
        if self.score_bias is not None and y.requires_grad:
            # counted in the backward pass: once per micro-batch, even if forward is recomputed
            y.register_hook(lambda _: self._count(routing.loads))
        return y, self._losses(routing)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Move and cast as ``nn.Module`` does; the bias stays fp32, to keep small steps."""
        before = self.score_bias
        super()._apply(fn, recurse)
        after = self.score_bias
        if before is not None and after is not None and after.dtype in (torch.float16, torch.bfloat16):
            self.score_bias = before.to(after.device, torch.float32)
        return self

    def _count(self, loads: Tensor) -> None:
        self.loads = loads if self.loads is None else self.loads + loads

    @torch.no_grad()
    def after_step(self, taken: bool = True) -> None:
        """Update the bias from the loads of the step; under DDP every process must call it.

        Args:
            taken: False if the optimizer step was skipped; the loads are then discarded.
        """
        loads, self.loads = self.loads, None
        if self.score_bias is None or not taken:
            return
        if loads is None:
            loads = torch.zeros(self.num_experts, dtype=torch.int64, device=self.score_bias.device)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(loads)
        self.score_bias += self.bias_rate * (loads.sum() - self.num_experts * loads).sign()

    def route(self, tokens: Tensor) -> Routing:
        """Return the routing of real tokens ``(N, D)``."""
        logits = in_high_precision(self.router, tokens)
        with torch.autocast(tokens.device.type, enabled=False):
            return route(
                logits,
                self.top_k,
                sigmoid=self.sigmoid,
                renormalise=self.renormalise,
                scale=self.route_scale,
                bias=self.score_bias,
            )

    def _mixed(self, tokens: Tensor, routing: Routing) -> Tensor:
        """Return the weighted sums ``(N, D)`` of the experts' outputs."""
        y = self.experts(tokens.index_select(0, routing.order // self.top_k), routing.loads)
        place = torch.empty_like(routing.order)
        place[routing.order] = torch.arange(len(place), device=place.device)
        y = y.index_select(0, place).unflatten(0, (len(tokens), self.top_k))
        with torch.autocast(y.device.type, enabled=False):
            # one product per token: a quarter of the time of multiplying and summing
            return torch.bmm(routing.weights[:, None], y.to(routing.weights.dtype))[:, 0].to(y.dtype)

    def _losses(self, routing: Routing) -> dict[str, Tensor]:
        losses = {}
        if self.balance_weight:
            losses["moe_balance"] = self.balance_weight * balance_loss(routing)
        if self.z_weight:
            losses["moe_z"] = self.z_weight * z_loss(routing)
        return losses
