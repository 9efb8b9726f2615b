"""Position codes as the papers write them: one pair, one head, one distance at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference import hope as hyperbolic
from ultra_blocks.reference.layers import State

WITHOUT_SCORES = ("nope", "none", "learned", "sinusoidal")
"""Codes that leave the scores as they are."""


def rope(
    q: Tensor, k: Tensor, state: State, *, base: float, scaling: float, interleaved: bool, **_: Any
) -> Tensor:
    """Return ``(R_m q_m)^T R_n k_n`` ``(H, T, T)`` of q and k ``(H, T, d)`` at positions 0, 1, ..."""
    del state
    options: dict[str, Any] = {"base": base, "scaling": scaling, "interleaved": interleaved}
    places = range(q.shape[1])
    return rotated(q, places, **options) @ rotated(k, places, **options).mT


def alibi(q: Tensor, k: Tensor, state: State, *, num_heads: int, **_: Any) -> Tensor:
    """Return ``q_i^T k_j - s_h |i - j|`` ``(H, T, T)``."""
    del state
    return q @ k.mT + alibi_bias(torch.arange(q.shape[1])[None], num_heads)[0]


def nope(q: Tensor, k: Tensor, state: State, **_: Any) -> Tensor:
    """Return ``q_i^T k_j`` ``(H, T, T)``."""
    del state
    return q @ k.mT


def learned(positions: Tensor, state: State, *, offset: int, **_: Any) -> Tensor:
    """Return the rows ``(T, D)`` of the table at positions ``(T,)``, of which 0 is in row ``offset``."""
    return torch.stack([state["table.weight"][p + offset] for p in positions.tolist()])


def sinusoidal(
    positions: Tensor, state: State, *, hidden_size: int, base: float, scale: float, **_: Any
) -> Tensor:
    """Return ``scale [sin(p w_0), .., cos(p w_0), ..]`` ``(T, D)``, ``w_j = base^(-2j / D)``, in fp64."""
    del state
    rows = []
    for p in positions.tolist():
        waves = [p * base ** (-2 * j / hidden_size) for j in range(math.ceil(hidden_size / 2))]
        sines, cosines = [math.sin(w) for w in waves], [math.cos(w) for w in waves[: hidden_size // 2]]
        rows.append(scale * torch.tensor(sines + cosines, dtype=torch.float64))
    return torch.stack(rows)


def products(q: Tensor, k: Tensor, spec: Any) -> Tensor:
    """Return the unscaled scores ``(H, T, T)`` of one document, without bias, by the code of a spec.

    Shapes:
        q ``(H, T, d)``, k ``(G, T, d)``.
    """
    name, options = named(spec)
    k = k.repeat_interleave(len(q) // len(k), 0)
    if name == "hope":
        form = options.pop("damping_form", "pair")
        return hyperbolic.scores(q, k, torch.arange(q.shape[1]), form=form, **options)
    return turned(q, range(q.shape[1]), spec) @ turned(k, range(q.shape[1]), spec).mT


def turned(x: Tensor, positions: Iterable[int], spec: Any) -> Tensor:
    """Return ``x`` ``(H, T, d)`` rotated by the positions, if the code of the spec is rope."""
    name, options = named(spec)
    return rotated(x, positions, **options) if name == "rope" else x


def bias_of(spec: Any, num_heads: int, length: int) -> Tensor | None:
    """Return the bias ``(H, T, T)`` of the code of a spec; None if it has none."""
    return alibi_bias(torch.arange(length)[None], num_heads)[0] if named(spec)[0] == "alibi" else None


def named(spec: Any) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of the position code that a block was given.

    Raises:
        ValueError: it is none of those in this module.
    """
    ((name, options),) = spec.items() if isinstance(spec, Mapping) else ((spec, {}),)
    if name not in ("rope", "alibi", "hope", *WITHOUT_SCORES):
        raise ValueError(f"the references know no position code {name!r}")
    return name, dict(options or {})


def rotated(
    x: Tensor,
    positions: Iterable[int],
    *,
    base: float = 10000.0,
    scaling: float = 1.0,
    interleaved: bool = False,
) -> Tensor:
    """Return ``R_p x_p`` of each token of ``x`` ``(H, T, d)``.

    Pair j is ``(x_j, x_{j+d/2})``, or with ``interleaved`` ``(x_{2j}, x_{2j+1})``.
    """
    order = list(range(x.shape[-1])) if interleaved else halves_to_pairs(x.shape[-1])
    back = sorted(range(len(order)), key=order.__getitem__)
    tokens = [
        x[:, t][:, order] @ rotation_matrix(p / scaling, x.shape[-1], base).to(x.dtype).T
        for t, p in enumerate(positions)
    ]
    return torch.stack(tokens, 1)[..., back]


def rotation_matrix(position: float, head_dim: int, base: float = 10000.0) -> Tensor:
    """Return R_p of RoFormer's equation 15, block-diagonal ``(d, d)``, for adjacent channels, in fp64."""
    matrix = [[0.0] * head_dim for _ in range(head_dim)]
    for j in range(head_dim // 2):
        angle = position * base ** (-2 * j / head_dim)
        cos, sin = math.cos(angle), math.sin(angle)
        matrix[2 * j][2 * j : 2 * j + 2] = [cos, -sin]
        matrix[2 * j + 1][2 * j : 2 * j + 2] = [sin, cos]
    return torch.tensor(matrix, dtype=torch.float64)


def halves_to_pairs(head_dim: int) -> list[int]:
    """Return the order of channels in which pair j of the half-split layout is at 2j, 2j+1."""
    half = head_dim // 2
    return [c for j in range(half) for c in (j, j + half)]


def alibi_slopes(num_heads: int) -> list[float]:
    """Return the slopes by the recursion of the authors' code."""
    if num_heads & (num_heads - 1) == 0:
        start = 2 ** (-(2 ** -(math.log2(num_heads) - 3)))
        return [start * start**i for i in range(num_heads)]
    closest = 2 ** math.floor(math.log2(num_heads))
    return alibi_slopes(closest) + alibi_slopes(2 * closest)[0::2][: num_heads - closest]


def alibi_bias(positions: Tensor, num_heads: int) -> Tensor:
    """Return ``-s_h |p_i - p_j|`` ``(B, H, T, T)`` in fp64 from ``positions`` ``(B, T)``."""
    distance = (positions[:, :, None] - positions[:, None, :]).abs().double()
    return torch.stack([-slope * distance for slope in alibi_slopes(num_heads)], 1)
