"""Attention with a neural long-term memory in the notation of arXiv:2501.00663: MAG, MAL and MAC."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.attention import capped, near, queries_keys_values
from ultra_blocks.reference.layers import State, concatenated, heads, inside, linear, rms_norm, silu
from ultra_blocks.reference.neural_memory import (
    Gates,
    Weights,
    bidirectional,
    memory_as_a_gate,
    memory_as_a_layer,
    memory_as_context,
    neural_memory,
    read,
)
from ultra_blocks.reference.positions import bias_of, products


def titan_attn(x: Tensor, state: State, *, memory: bool, variant: str, **arguments: Any) -> Tensor:
    """Return the block ``(T, D)`` of x ``(T, D)``, by the section of the paper on the variant."""

    def attn(z: Tensor) -> Tensor:
        return persistent_attention(z, state, **arguments)

    if not memory:
        return linear(concatenated(attn(x)), state, "out_proj")
    if variant == "mac":
        orders = [False] if arguments["causal"] else [False, True]
        read_in_order = [context(x, state, back=back, **arguments) for back in orders]
        return linear(concatenated(torch.stack(read_in_order).mean(0)), state, "out_proj")
    read_t = rms_norm(long_term_memory(x, inside(state, "memory"), **arguments), state["memory_norm.weight"])
    if variant == "mal":
        y = memory_as_a_layer(x, concatenated(read_t), attn)
    else:
        y = memory_as_a_gate(rms_norm(attn(x), state["attention_norm.weight"]), read_t)
    return linear(concatenated(y), state, "out_proj")


def persistent_attention(
    x: Tensor,
    state: State,
    retrieved: Tensor | None = None,
    *,
    num_heads: int,
    causal: bool,
    positions: Any,
    qk_norm: bool,
    window: int | None,
    softcap: float | None,
    **_: Any,
) -> Tensor:
    """Return ``softmax([q K_P^T, q K_h^T, s(q, k)] / sqrt(d)) [V_P; V_h; V]`` ``(H, T, d)``.

    Persistent tokens P and retrieved tokens h, one of each token, have no position.
    """

    def project(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return queries_keys_values(z, state, num_heads, num_heads, qk_norm=qk_norm)

    T, scale = len(x), math.sqrt(x.shape[-1] // num_heads)
    q, k, v = project(x)
    own = capped(products(q, k, positions) / scale, softcap)
    bias = bias_of(positions, num_heads, T)
    seen = torch.tensor(
        [[near(i - j, window, causal) and not (causal and j > i) for j in range(T)] for i in range(T)]
    )
    own = (own if bias is None else own + bias).masked_fill(~seen, -math.inf)
    S, V = [own], [v]
    if retrieved is not None:
        k_h, v_h = project(retrieved)[1:]
        hidden = torch.ones(T, T, dtype=torch.bool).triu(1) & causal
        S.append(capped(q @ k_h.mT / scale, softcap).masked_fill(hidden, -math.inf))
        V.append(v_h)
    if "persistent" in state:
        k_P, v_P = project(state["persistent"])[1:]
        S.append(capped(q @ k_P.mT / scale, softcap))
        V.append(v_P)
    return torch.softmax(torch.cat(S, -1), -1) @ torch.cat(V, -2)


def long_term_memory(
    x: Tensor, state: State, *, num_heads: int, causal: bool, memory_chunk: int, memory_depth: int, **_: Any
) -> Tensor:
    """Return what the memory reads ``(H, T, d)``, the sum of both directions in encoders."""
    Q, K, V = vectors(x, state, num_heads, memory_depth)
    gates = learning_gates(x, state, num_heads, memory_chunk, memory_depth, directions=1 if causal else 2)
    y = []
    for h in range(num_heads):
        start = start_of(state, h, memory_depth)
        if causal:
            y_h = neural_memory(Q[h], K[h], V[h], *gates[0][h], memory_chunk, start=start)[0]
        else:
            y_h = bidirectional(Q[h], K[h], V[h], gates[0][h], gates[1][h], memory_chunk, start)
        y.append(y_h * factor(memory_chunk, memory_depth))
    return torch.stack(y)


def context(
    x: Tensor,
    state: State,
    *,
    back: bool,
    num_heads: int,
    causal: bool,
    memory_chunk: int,
    memory_depth: int,
    **arguments: Any,
) -> Tensor:
    """Return the gated outputs of the heads ``(H, T, d)``, the segments read in one of both orders."""
    own, d = inside(state, "memory"), x.shape[-1] // num_heads
    segments = list(x.split(memory_chunk))[:: -1 if back else 1]
    starts = [start_of(own, h, memory_depth) for h in range(num_heads)]

    def ask(S: Tensor, kept: Any) -> Tensor:
        q = unit(heads(silu(linear(S, state, "retrieval_proj")), num_heads))
        answers = []
        for h in range(num_heads):
            M, _ = kept[h]
            if (start := starts[h]) is None:
                matrix = M[0] * memory_chunk
                answer = q[h] @ matrix / ((matrix**2).sum() + d * 1e-6).sqrt()
            else:
                W = tuple(w + m for w, m in zip(start, M, strict=True))
                answer = torch.stack([read(W, q_t) for q_t in q[h]])
            answers.append(math.sqrt(d) * answer * state["retrieved_gain"])
        return torch.cat(answers, -1)

    def attend(number: int, h: Tensor | None) -> Tensor:
        y = persistent_attention(segments[number], state, h, num_heads=num_heads, causal=causal, **arguments)
        return rms_norm(y, state["attention_norm.weight"])

    def write(y: Tensor, kept: Any) -> tuple[Tensor, Any]:
        tokens = concatenated(y)
        parts = vectors(tokens, own, num_heads, memory_depth)
        directions = 1 if causal else 2
        gates = learning_gates(tokens, own, num_heads, memory_chunk, memory_depth, directions)[back]
        reads, after = [], []
        for h in range(num_heads):
            given = [part[h] for part in parts] + list(gates[h])
            q, k, v, theta, eta, alpha = (part.flip(0) if back else part for part in given)
            before = None if kept is None else kept[h]
            y_h, M, S = neural_memory(
                q, k, v, theta, eta, alpha, memory_chunk, before=before, start=starts[h]
            )
            reads.append(y_h.flip(0) if back else y_h)
            after.append((M, S))
        read_t = torch.stack(reads) * factor(memory_chunk, memory_depth)
        return rms_norm(read_t, state["memory_norm.weight"]), after

    outputs = memory_as_context(segments, ask, attend, write)
    return torch.cat(outputs[:: -1 if back else 1], 1)


def vectors(x: Tensor, state: State, num_heads: int, depth: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return q, k, v ``(H, T, d)`` of the memory; v is a unit vector too if the memory has two layers."""
    q, k, v = (heads(part, num_heads) for part in silu(linear(x, state, "qkv_proj")).chunk(3, -1))
    return unit(q), unit(k), unit(v) if depth == 2 else v


def learning_gates(
    x: Tensor, state: State, num_heads: int, chunk: int, depth: int, directions: int
) -> list[list[Gates]]:
    """Return theta, eta and alpha ``(T,)`` by direction and head; theta is a step on a chunk's mean loss."""
    raw = torch.sigmoid(linear(x, state, "gate_proj")).view(len(x), directions, 3, num_heads)
    steepness = 4 if depth == 2 else 1
    gates: list[list[Gates]] = []
    for n in range(directions):
        theta, eta, alpha = raw[:, n].unbind(1)
        theta = theta * (1 - eta) / (steepness * chunk)
        gates.append([(theta[:, h], eta[:, h], alpha[:, h]) for h in range(num_heads)])
    return gates


def start_of(state: State, head: int, depth: int) -> Weights | None:
    """Return the weights of an empty memory of two layers; None: a matrix starts at 0."""
    return (state["first"][head], state["second"][head]) if depth == 2 else None


def factor(chunk: int, depth: int) -> int:
    """Return the factor of what a memory reads: a matrix counts the steps of a chunk, not their mean."""
    return 1 if depth == 2 else chunk


def unit(x: Tensor) -> Tensor:
    """Return vectors divided by their norm."""
    return x / ((x * x).sum(-1, keepdim=True) + 1e-12).sqrt()
