"""What the references of gla, hgrn2, deltanet, gated_deltanet and kda share: projections and the output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ultra_blocks.reference.layers import State, concatenated, convolved, heads, linear, rms_norm, silu


def project(x: Tensor, state: State, widths: Sequence[int], *, causal: bool) -> tuple[list[Tensor], Tensor]:
    """Return ``silu(conv(W_in x))``, split by widths, and the output gate before its activation.

    Shapes:
        x ``(T, D)`` -> ``(T, width)`` each, gate ``(T, H d_v)`` or ``(T, 0)``.
    """
    u, gate = linear(x, state, "in_proj").tensor_split((sum(widths),), -1)
    if "conv1d.weight" in state:
        u = convolved(u, state["conv1d.weight"], causal=causal)
    return list(silu(u).split(tuple(widths), -1)), gate


def read_out(y: Sequence[Tensor], gate: Tensor, state: State, *, output_gate: str, eps: float) -> Tensor:
    """Return ``W_out (act(g) * RMSNorm(y))``, with a norm over each head; y is ``(T, d_v)`` of each head."""
    normed = concatenated(rms_norm(torch.stack(list(y)), state["norm.weight"], eps))
    if output_gate == "swish":
        normed = silu(gate) * normed
    elif output_gate == "sigmoid":
        normed = torch.sigmoid(gate) * normed
    return linear(normed, state, "out_proj")


def by_direction(x: Tensor, directions: int, num_heads: int) -> list[Tensor]:
    """Return gates ``(T, directions H d)``, stacked by direction and then by head, as ``(H, T, d)`` each."""
    return [heads(part, num_heads) for part in x.chunk(directions, -1)]
