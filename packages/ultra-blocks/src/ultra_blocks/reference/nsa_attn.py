"""Native sparse attention (arXiv:2502.11089), one query at a time."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.attention import capped, near, read
from ultra_blocks.reference.layers import State, concatenated, heads, linear, rms_norm
from ultra_blocks.reference.positions import turned


def nsa_attn(
    x: Tensor,
    state: State,
    *,
    num_heads: int,
    num_kv_heads: int | None,
    causal: bool,
    compress_block: int,
    compress_stride: int,
    select_block: int,
    num_selected: int,
    local_blocks: int,
    window: int,
    positions: Any,
    qk_norm: bool,
    softcap: float | None,
    **_: Any,
) -> Tensor:
    """Return ``[sum over branches c of g^c A(q, K^c, V^c)] W_O``: compressed, selected, window."""
    T, D = x.shape
    H, d = num_heads, D // num_heads
    G = num_kv_heads or (H // 4 if H % 4 == 0 else 1)
    q, *parts = linear(x, state, "qkv_proj").split((H * d, *6 * (G * d,)), -1)
    q, (k_raw, v_raw, k_slc, v_slc, k_win, v_win) = heads(q, H), (heads(part, G) for part in parts)
    starts = list(range(0, T, compress_stride))
    k_cmp = compressed(k_raw, starts, compress_block, state, "key_compressor")
    v_cmp = compressed(v_raw, starts, compress_block, state, "value_compressor")
    if qk_norm:
        q, k_cmp = rms_norm(q, state["q_norm.weight"]), rms_norm(k_cmp, state["k_norm.weight"])
        k_slc = rms_norm(k_slc, state["chosen_k_norm.weight"])
        k_win = rms_norm(k_win, state["window_k_norm.weight"])
    q, k_slc, k_win = (turned(part, range(T), positions) for part in (q, k_slc, k_win))
    k_cmp = turned(k_cmp, starts, positions)
    S = {
        name: q @ k.repeat_interleave(H // G, 0).mT / math.sqrt(d)
        for name, k in (("cmp", k_cmp), ("slc", k_slc), ("win", k_win))
    }
    gates = torch.sigmoid(linear(x, state, "gate_proj")).view(T, 3, H)

    count = -(-T // select_block)
    y = [[torch.empty(0)] * T for _ in range(H)]
    for i in range(T):
        whole = [m for m, start in enumerate(starts) if not causal or start + compress_block - 1 <= i]
        allowed = range(i + 1) if causal else range(T)
        close = [j for j in allowed if near(i - j, window, causal)]
        for g in range(G):
            group = range(g * (H // G), (g + 1) * (H // G))
            importance = torch.zeros(count, dtype=x.dtype)
            for h in group:
                p_cmp = torch.softmax(capped(S["cmp"][h, i, whole], softcap), 0).tolist()
                for p, m in zip(p_cmp, whole, strict=True):
                    for covered in range(starts[m], starts[m] + compress_block, compress_stride):
                        if covered // select_block < count:
                            importance[covered // select_block] += p
            blocks = selected_blocks(importance.tolist(), i, select_block, num_selected, local_blocks, causal)
            chosen = [j for j in allowed if j // select_block in blocks]
            for h in group:
                y[h][i] = (
                    gates[i, 0, h] * read(S["cmp"][h, i, whole], v_cmp[g, whole], softcap=softcap)
                    + gates[i, 1, h] * read(S["slc"][h, i, chosen], v_slc[g, chosen], softcap=softcap)
                    + gates[i, 2, h] * read(S["win"][h, i, close], v_win[g, close], softcap=softcap)
                )
    return linear(concatenated(torch.stack([torch.stack(row) for row in y])), state, "out_proj")


def compressed(x: Tensor, starts: list[int], size: int, state: State, name: str) -> Tensor:
    """Return ``phi(x_s .. x_{s+l-1})`` ``(G, m, d)`` for each start s; after the document there are zeros."""
    made = []
    for start in starts:
        block = x[:, start : start + size]
        block = block + state[f"{name}.places"][: block.shape[1]]
        missing = block.new_zeros(len(x), size - block.shape[1], x.shape[-1])
        z = linear(torch.cat((block, missing), 1).flatten(1), state, f"{name}.mix")
        gelu = z * (1 + torch.erf(z / math.sqrt(2))) / 2
        made.append(linear(gelu, state, f"{name}.out"))
    return torch.stack(made, 1)


def selected_blocks(
    importance: list[float], i: int, size: int, number: int, local: int, causal: bool
) -> set[int]:
    """Return the blocks of ``size`` tokens that token i reads: the first, the nearest, the most important."""
    own, within = divmod(i, size)
    there = range(own + 1) if causal else range(len(importance))
    if causal:
        nearest = [own - n for n in range(local)]
    else:
        side = -1 if within < (size - 1) / 2 else 1
        offsets = sorted(range(-local, local + 1), key=lambda n: (abs(n), n * side < 0))
        nearest = [own + n for n in offsets[:local]]
    always = {0, *nearest} & set(there)
    best = sorted(set(there) - always, key=lambda n: -importance[n])
    return always | set(best[: number - len(always)])
