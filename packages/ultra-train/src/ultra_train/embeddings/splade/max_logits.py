"""The largest logit of every token of the vocabulary over a text, with a gradient that keeps no logits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def max_logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor, chunk: int) -> Tensor:
    """Return ``m_bv = max over real t of (h_bt . W_v + c_v)``.

    Logits of ``chunk`` positions exist at a time. Beside its inputs, the backward pass needs the position of
    every maximum: ``m_bv`` depends on the state of one position only, so that with the maxima at ``t(b, v)``
    and their gradients ``g_bv``::

        dW_v = sum over b of g_bv h_{b, t(b, v)},   dh_bt = sum over v with t(b, v) = t of g_bv W_v

    These sums have ``B V`` terms, less those with ``g_bv = 0``, where the products that give the gradient of
    all logits have ``B T V``.

    Args:
        hidden: ``(B, T, D)``.
        weight: W ``(V, D)``.
        bias: c ``(V,)``, or None.
        mask: ``(B, T)`` bool, True at real tokens.
        chunk: positions of every row whose logits are held at a time.

    Shapes:
        returns ``(B, V)``, in the precision in which autocast multiplies; -inf for a row without real token.
        Of equal maxima, the first one gets the gradient.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        compute = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            return _apply(hidden, weight, bias, mask, chunk, compute)
    return _apply(hidden, weight, bias, mask, chunk, torch.promote_types(hidden.dtype, weight.dtype))


def _apply(*arguments: Any) -> Tensor:
    found: Tensor = _MaxLogits.apply(*arguments)
    return found


class _MaxLogits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        mask: Tensor,
        chunk: int,
        compute: torch.dtype,
    ) -> Tensor:
        rows, vocabulary = len(hidden), len(weight)
        best = hidden.new_full((rows, vocabulary), float("-inf"), dtype=compute)
        place = torch.zeros(rows, vocabulary, dtype=torch.int32, device=hidden.device)
        w, c = weight.to(compute), None if bias is None else bias.to(compute)
        for start, some, real in chunks(mask, chunk):
            part = hidden[:, start : start + chunk] if some is None else hidden[some, start : start + chunk]
            logits = F.linear(part.to(compute), w, c)
            if real is not None:
                logits.masked_fill_(~real[..., None], float("-inf"))
            values, at = logits.max(1)
            del logits
            before = best if some is None else best[some]
            where = place if some is None else place[some]
            later = ~(values <= before)  # also where it is not a number
            where = torch.where(later, at.to(torch.int32) + start, where)
            values = torch.maximum(values, before)
            if some is None:
                best, place = values, where
            else:
                best[some], place[some] = values, where
        ctx.save_for_backward(hidden, weight, place)
        ctx.has_bias = bias is not None
        return best

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, place = ctx.saved_tensors
        for_hidden, for_weight, for_bias = ctx.needs_input_grad[:3]
        rows, length, width = hidden.shape
        wide = torch.promote_types(torch.promote_types(hidden.dtype, weight.dtype), torch.float32)
        grad = grad.to(wide)
        states = place.long() + length * torch.arange(rows, device=grad.device)[:, None]
        given: list[Tensor | None] = [None, None, None]
        if for_hidden:
            row, token = grad.nonzero().unbind(1)
            state, order = states[row, token].sort()
            summed = _sums(weight.to(wide), token[order], state, grad[row, token][order], rows * length)
            given[0] = summed.view(rows, length, width).to(hidden.dtype)
        if for_weight:
            token, row = grad.t().nonzero().unbind(1)
            flat = hidden.to(wide).flatten(0, 1)
            given[1] = _sums(flat, states[row, token], token, grad[row, token], len(weight)).to(weight.dtype)
        if for_bias and ctx.has_bias:
            given[2] = grad.sum(0).to(weight.dtype)
        return (*given, None, None, None)


def _sums(table: Tensor, index: Tensor, group: Tensor, factors: Tensor, groups: int) -> Tensor:
    """Return for every group the sum of ``factors * table[index]``; ``group`` is sorted."""
    borders = torch.searchsorted(group, torch.arange(groups + 1, device=group.device))
    summed: Tensor = F.embedding_bag(
        index, table, borders, mode="sum", per_sample_weights=factors, include_last_offset=True
    )
    return summed


def chunks(mask: Tensor, chunk: int) -> Iterator[tuple[int, Tensor | None, Tensor | None]]:
    """Yield the chunks of positions that hold real tokens.

    Reads values, which synchronises an accelerator once.

    Args:
        mask: ``(B, T)`` bool, True at real tokens.
        chunk: positions in a chunk.

    Yields:
        first position; indices of the rows with real tokens there, None for all; ``(rows, chunk)`` bool, True
        at those tokens, None if all are real.
    """
    host = mask.cpu()
    for start in range(0, mask.shape[1], chunk):
        part = host[:, start : start + chunk]
        rows = part.any(1)
        if not rows.any():
            continue
        some = None if rows.all() else rows.nonzero().squeeze(1).to(mask.device)
        real = None
        if not part[rows].all():
            real = mask[:, start : start + chunk]
            real = real if some is None else real[some]
        yield start, some, real
