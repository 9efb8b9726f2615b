"""Mixtures of experts: who is sent where, the losses that keep it even, and products by expert."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

GROUPED = getattr(F, "grouped_mm", None)
"""torch's product of sorted rows with stacked matrices; None before torch 2.10."""


class Routing(NamedTuple):
    """Where N tokens go among E experts, k each.

    ``logits (N, E)`` and ``probabilities (N, E)`` (rows add up to 1) are at least fp32; ``experts (N, k)``
    are the chosen ones and ``weights (N, k)`` what their outputs are multiplied with; ``order (N k,)`` lists
    the (token, slot) pairs, numbered ``token * k + slot``, expert by expert, and ``loads (E,)`` counts them.
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
    """Send each token to the ``top_k`` experts of the highest score ``s``, or of the highest ``s + b``.

    ``s = softmax(z)`` or ``sigmoid(z)``; weights ``g = scale * s``, with ``renormalise`` divided by their
    sum over the chosen ones. ``probabilities`` are ``s / sum_e s_e``, whichever it is.

    Args:
        logits: ``z`` ``(N, E)``, at least fp32.
        top_k: experts a token.
        sigmoid: score each expert by itself.
        renormalise: let the weights of a token add up to ``scale``.
        scale: see above.
        bias: ``b`` ``(E,)``, which decides who is chosen and nothing else; it gets no gradient.
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
    """Return ``E sum_e f_e P_e``: 1 when loads or probabilities are even, E when one expert has it all.

    ``f_e`` is the share of (token, slot) pairs that expert e has, ``P_e`` the mean of its probability; the
    gradient comes through P alone. 0 without a token.
    """
    tokens, top_k = routing.experts.shape
    share = routing.loads.to(routing.probabilities.dtype) / max(tokens * top_k, 1)
    mean = routing.probabilities.sum(0) / max(tokens, 1)
    return len(routing.loads) * (share * mean).sum()


def z_loss(routing: Routing) -> Tensor:
    """Return the mean over tokens of ``(logsumexp_e z_e)^2``, which keeps logits small; 0 without a token."""
    return routing.logits.logsumexp(-1).square().sum() / max(len(routing.logits), 1)


def grouped_linear(x: Tensor, weight: Tensor, loads: Tensor) -> Tensor:
    """Return ``y_n = W_e x_n``, e being the expert whose segment row n lies in.

    Like ``F.linear`` it computes in the dtype of autocast. The gradient that it gets must not be an expanded
    tensor (``y.sum().backward()``): torch's kernel refuses it. Indexing ``y`` in between is enough.

    Args:
        x: ``(N, in)``, sorted by expert.
        weight: ``(E, out, in)``.
        loads: ``(E,)`` int64, rows of each expert; they add up to N.

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
    """Return what :func:`grouped_linear` does, one expert after another; looks at the values of ``loads``."""
    parts = x.split(loads.tolist())
    # unbind, not weight[e]: one stacked gradient instead of E full-sized ones
    return torch.cat([F.linear(part, matrix) for part, matrix in zip(parts, weight.unbind(0), strict=True)])


def can_be_grouped(x: Tensor, weight: Tensor) -> bool:
    """Whether torch's grouped product takes these: dtype, device, and rows of whole 16 bytes."""
    if any(width * x.element_size() % 16 for width in weight.shape[1:]):
        return False
    if x.is_cuda:
        return x.dtype is torch.bfloat16 and torch.cuda.get_device_capability(x.device) >= (8, 0)
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    aligned = not (x.data_ptr() % 16 or weight.data_ptr() % 16)  # weights mapped from a file need not be
    return aligned and x.dtype in (torch.float32, torch.bfloat16)
