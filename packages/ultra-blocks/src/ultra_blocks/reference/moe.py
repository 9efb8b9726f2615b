"""A mixture of experts, one token and one expert at a time.

Shapes: x ``(N, D)`` real tokens, W_r ``(E, D)``; ``experts`` are E functions ``(D,) -> (D,)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.ffns import glu, mlp
from ultra_blocks.reference.layers import State, inside

FFNS: dict[str, Callable[..., Tensor]] = {"mlp": mlp, "glu": glu}


def moe(
    x: Tensor,
    state: State,
    *,
    num_experts: int,
    top_k: int,
    expert: Any,
    routing: str,
    renormalise: bool | None,
    route_scale: float,
    balance: str,
    balance_weight: float | None,
    z_weight: float,
    **_: Any,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mixture of mlp or glu experts of x ``(T, D)``, and the losses of training by name.

    Experts stack their weights: that of expert e is ``experts.up.weight[e]``.
    """
    ((name, options),) = expert.items() if isinstance(expert, Mapping) else ((expert, {}),)
    activation = options.get("activation", {"mlp": "gelu", "glu": "silu"}[name])
    ffn, stacked = FFNS[name], inside(state, "experts")

    def apply(e: int) -> Callable[[Tensor], Tensor]:
        own = {key: t[e] for key, t in stacked.items()}
        return lambda x_n: ffn(x_n, own, activation=activation)

    y, f_P, z = mixture(
        x,
        state["router.weight"],
        [apply(e) for e in range(num_experts)],
        top_k,
        sigmoid=routing == "sigmoid",
        renormalise=top_k > 1 if renormalise is None else renormalise,
        scale=route_scale,
        b=state.get("score_bias"),
    )
    if shared := inside(state, "shared"):
        y = y + ffn(x, shared, activation=activation)
    if balance_weight is None:
        balance_weight = 1e-2 if balance == "loss" else 1e-4
    losses = {"moe_balance": (balance_weight, f_P), "moe_z": (z_weight, z)}
    return y, {key: weight * loss for key, (weight, loss) in losses.items() if weight}


def mixture(
    x: Tensor,
    W_r: Tensor,
    experts: Sequence[Callable[[Tensor], Tensor]],
    k: int,
    *,
    sigmoid: bool = False,
    renormalise: bool = True,
    scale: float = 1.0,
    b: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``y_n = sum_{e in top-k} g_ne FFN_e(x_n)``, the balance loss and the z loss, all unweighted.

    The k experts with the highest ``s_ne + b_e`` are selected; ``g_ne`` does not depend on ``b (E,)``.
    """
    E = len(experts)
    outputs, P, f, z = [], x.new_zeros(E), x.new_zeros(E), x.new_zeros(())
    for x_n in x:
        z_n = W_r @ x_n
        s_n = 1 / (1 + torch.exp(-z_n)) if sigmoid else torch.exp(z_n) / torch.exp(z_n).sum()
        chosen = (s_n.detach() + (0 if b is None else b)).argsort(descending=True)[:k].tolist()
        total = torch.stack([s_n[e] for e in chosen]).sum() if renormalise else 1.0
        y_n = torch.stack([scale * s_n[e] / total * experts[e](x_n) for e in chosen]).sum(0)
        outputs.append(y_n)
        f = f + torch.tensor([e in chosen for e in range(E)], dtype=x.dtype) / (k * len(x))
        P = P + s_n / s_n.sum() / len(x)
        z = z + torch.exp(z_n).sum().log() ** 2 / len(x)
    return torch.stack(outputs), E * (f * P).sum(), z


def after_step(b: Tensor, loads: Tensor, u: float) -> Tensor:
    """Return ``b_e + u sign(mean load - load_e)``, the biases after an optimizer step, from its loads."""
    moved = []
    for b_e, load in zip(b, loads, strict=True):
        moved.append(b_e + u * torch.sign(loads.double().mean() - load))
    return torch.stack(moved)
