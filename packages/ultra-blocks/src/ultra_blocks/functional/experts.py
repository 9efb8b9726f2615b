"""Mixtures of experts: routing, auxiliary losses, and products grouped by expert."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

GROUPED = getattr(F, "grouped_mm", None)
"""Grouped matrix product of torch; None before torch 2.10."""


class Routing(NamedTuple):
    """Assignment of N tokens to k of E experts each.

    Attributes:
        logits: ``(N, E)``, at least fp32.
        probabilities: ``(N, E)``, at least fp32; rows sum to 1.
        experts: ``(N, k)``, selected experts.
        weights: ``(N, k)``, factors of their outputs.
        order: ``(N k,)``, the (token, slot) pairs sorted by expert, as ``token * k + slot``.
        loads: ``(E,)``, number of pairs of each expert.
    """

    logits: Tensor
    probabilities: Tensor
    experts: Tensor
    weights: Tensor
    order: Tensor
    loads: Tensor


def route(
    logits: Tensor,
    top_k: int,
    *,
    sigmoid: bool = False,
    renormalise: bool = True,
    scale: float = 1.0,
    bias: Tensor | None = None,
) -> Routing:
    """Route each token to the ``top_k`` experts with the highest score ``s``, or the highest ``s + b``.

    ``s = softmax(z)`` or ``sigmoid(z)``; weights are ``g = scale * s``, with ``renormalise`` divided by their
    sum over the selected experts. ``probabilities`` are ``s / sum_e s_e`` in both cases.

    Args:
        logits: ``z`` ``(N, E)``, at least fp32.
        top_k: number of experts per token.
        sigmoid: score each expert independently.
        renormalise: make the weights of a token sum to ``scale``.
        scale: factor of the weights.
        bias: ``b`` ``(E,)``, which affects the selection only and gets no gradient.
    """
    scores = logits.sigmoid() if sigmoid else logits.softmax(-1)
    ranked = scores.detach() if bias is None else scores.detach() + bias
    experts = ranked.topk(top_k, dim=-1).indices
    weights = scores.gather(-1, experts)
    if renormalise:
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    total = scores.sum(-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)
    probabilities = scores / total if sigmoid else scores
    chosen, order = experts.flatten().sort(stable=True)
    each = torch.arange(logits.shape[-1], device=logits.device)
    ends = torch.searchsorted(chosen, each, right=True)
    loads = ends.diff(prepend=ends.new_zeros(1))
    return Routing(logits, probabilities, experts, weights * scale, order, loads)


def balance_loss(routing: Routing) -> Tensor:
    """Return ``E sum_e f_e P_e``: 1 if loads or probabilities are uniform, E if one expert has everything.

    ``f_e`` is the fraction of (token, slot) pairs of expert e and ``P_e`` its mean probability; only P has a
    gradient. The loss is 0 without tokens.
    """
    tokens, top_k = routing.experts.shape
    share = routing.loads.to(routing.probabilities.dtype) / max(tokens * top_k, 1)
    mean = routing.probabilities.sum(0) / max(tokens, 1)
    return len(routing.loads) * (share * mean).sum()


def z_loss(routing: Routing) -> Tensor:
    """Return the mean over tokens of ``(logsumexp_e z_e)^2``, which keeps logits small; 0 without tokens."""
    return routing.logits.logsumexp(-1).square().sum() / max(len(routing.logits), 1)


def grouped_linear(x: Tensor, weight: Tensor, loads: Tensor) -> Tensor:
    """Return ``y_n = W_e x_n``, where e is the expert whose segment contains row n.

    Like ``F.linear``, it computes in the dtype of autocast. Its incoming gradient must not be an expanded
    tensor (as in ``y.sum().backward()``), which torch's kernel rejects; indexing ``y`` avoids that.

    Args:
        x: ``(N, in)``, sorted by expert.
        weight: ``(E, out, in)``.
        loads: ``(E,)`` int64, number of rows of each expert, with sum N.

    Shapes:
        returns ``(N, out)``.
    """
    device = x.device.type
    if torch.is_autocast_enabled(device) and x.dtype is not torch.float64:
        dtype = torch.get_autocast_dtype(device)
        x, weight = x.to(dtype), weight.to(dtype)
    if GROUPED is not None and can_be_grouped(x, weight):
        return GROUPED(x, weight.transpose(-1, -2), offs=loads.cumsum(0).to(torch.int32))
    return looped_linear(x, weight, loads)


def looped_linear(x: Tensor, weight: Tensor, loads: Tensor) -> Tensor:
    """Return the same as :func:`grouped_linear`, one expert after another; reads the values of ``loads``."""
    parts = x.split(loads.tolist())
    # unbind gives one stacked gradient, where weight[e] would give E of full size
    return torch.cat([F.linear(part, matrix) for part, matrix in zip(parts, weight.unbind(0), strict=True)])


def can_be_grouped(x: Tensor, weight: Tensor) -> bool:
    """Whether torch's grouped product accepts device and dtype, and rows are multiples of 16 bytes."""
    if any(width * x.element_size() % 16 for width in weight.shape[1:]):
        return False
    if x.is_cuda:
        return x.dtype is torch.bfloat16 and torch.cuda.get_device_capability(x.device) >= (8, 0)
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    aligned = not (x.data_ptr() % 16 or weight.data_ptr() % 16)  # weights mapped from a file may be unaligned
    return aligned and x.dtype in (torch.float32, torch.bfloat16)
