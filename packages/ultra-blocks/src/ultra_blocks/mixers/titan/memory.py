"""The long-term memory of titan_attn: projections, gates, both directions, chunks of each document."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.functional.neural_memory import (
    MemoryGates,
    MemoryState,
    memory_chunk,
    memory_step,
    neural_memory,
)
from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory, fused_linear

BIASES = (-3.0, 2.0, -4.0)
"""Initial biases of the gates of step size, momentum and forgetting."""

EPS = 1e-6
"""Added to the mean square of a memory, as in an RMS norm, so that an almost empty memory has no effect."""


class Slots(NamedTuple):
    """Rearrangement of tokens in which every document starts a new chunk.

    Attributes:
        slot: ``(B, T)``, place of each token; arbitrary at padding.
        token: ``(B, W)``, token at each place that is ``filled``.
        filled: ``(B, W)`` bool.
        fresh: ``(B, n)`` bool, chunks that start a document; None: only the first.
    """

    slot: Tensor
    token: Tensor
    filled: Tensor
    fresh: Tensor | None


class TitanMemory(nn.Module):
    """A matrix per head that learns to map keys to values while it processes the sequence.

    ``q, k, v = silu(W x)``, with q and k divided by their norms. The gates of each token and head are, with
    the logistic function ``sigma``, ``eta = sigma(w_eta x + 2)``, ``alpha = sigma(w_alpha x - 4)`` and
    ``theta = sigma(w_theta x - 3) (1 - eta) / C``. The output is that of
    :func:`ultra_blocks.functional.neural_memory.neural_memory` times C. Bidirectional: the sum of both
    directions, which share q, k, v and have separate gates; a token's own step contributes its mean, so that
    it counts once.

    The factor ``(1 - eta) / C`` makes theta the step size on the mean loss of a chunk, averaged by momentum,
    so that with unit keys any constant gates descend, however similar the keys. Steps of
    ``sigma(w_theta x - 3)`` on the loss of every token, all at the same memory, overshoot more with every
    chunk if keys are similar.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H, each of width ``d = D / H``.
        causal: process the past only.
        chunk_size: tokens C whose gradients are taken at the same memory, counted in the document.
        linear: factory of the projection of q, k, v; gates always have full precision.
    """

    def __init__(
        self, hidden_size: int, *, num_heads: int, causal: bool, chunk_size: int, linear: LinearFactory
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = hidden_size // num_heads
        self.causal = causal
        self.chunk_size = chunk_size
        self.directions = 1 if causal else 2
        self.heights = (hidden_size,) * 3
        self.qkv_proj = fused_linear(linear, hidden_size, self.heights)
        self.gate_proj = nn.Linear(hidden_size, self.directions * 3 * num_heads)

    @torch.no_grad()
    def reset_start(self) -> None:
        """Set the biases of the gates to ``BIASES``."""
        biases = self.gate_proj.bias.view(self.directions, 3, self.num_heads)
        biases.copy_(torch.tensor(BIASES)[:, None])

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Return the output ``(B, T, H, d)``, at least fp32; ``x`` is zero at padding."""
        gates = self.gates(x)
        vectors = torch.stack(self.project(x), 2)
        if not self.causal:  # the other direction is added as rows
            vectors = torch.cat((vectors, _reversed(vectors, layout)))
            back = (_reversed(gate, layout) for gate in gates[1])
            gates = [MemoryGates(*(torch.cat(pair) for pair in zip(gates[0], back, strict=True)))]
        y = self._read(vectors, gates[0], layout)
        if not self.causal:
            ahead, behind = y.chunk(2)
            y = ahead + _reversed(behind, layout)
        return y

    def _read(self, vectors: Tensor, gates: MemoryGates, layout: Layout) -> Tensor:
        """Run the memory over rows ``(B, T, 3, H, d)`` of one or both directions."""
        repeats = self.directions
        own = 1.0 if self.causal else 0.5
        straight = layout.indexed and not layout.packed  # chunks of columns are then chunks of tokens
        if straight:
            mask = layout.mask.repeat(repeats, 1)[..., None] if layout.padded else None
            slots, fresh = None, None
        else:
            key = ("titan chunks", self.chunk_size)
            found: Slots = layout.remember(key, lambda: chunk_slots(layout, self.chunk_size))
            token, slots, mask = (part.repeat(repeats, 1) for part in (found.token, found.slot, found.filled))
            fresh = None if found.fresh is None else found.fresh.repeat(repeats, 1)
            vectors = pick(vectors, token)
            gates = MemoryGates(*(pick(gate, token) for gate in gates))
            mask = mask[..., None]
        if mask is not None:
            gates = MemoryGates(*(torch.where(mask, gate, 0.0) for gate in gates))
        q, k, v = vectors.unbind(2)
        y = self.learn(q, k, v, gates, own=own, fresh=fresh)
        return y if slots is None else pick(y, slots)

    def init_state(self, batch: int) -> MemoryState:
        """Return the initial state of ``batch`` rows."""
        some = next(self.parameters())
        exact = torch.promote_types(some.dtype, torch.float32)
        empty = some.new_zeros(batch, self.num_heads, *self.state_shape, dtype=exact)
        return MemoryState(empty, empty, empty, 0)

    def step(self, x_t: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        """Return the output ``(B, H, d)`` at the next token ``(B, D)``, and the state after it."""
        return self.learn_token(*self.project(x_t), self.gates(x_t)[0], state)

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of the memory of a head."""
        return (self.head_dim, self.head_dim)

    def learn(
        self, q: Tensor, k: Tensor, v: Tensor, gates: MemoryGates, *, own: float, fresh: Tensor | None
    ) -> Tensor:
        """Return the output ``(B, T, H, d)`` while the memory learns."""
        y = neural_memory(q, k, v, gates, chunk_size=self.chunk_size, own=own, fresh=fresh)
        return y * self.chunk_size

    def learn_chunk(
        self, q: Tensor, k: Tensor, v: Tensor, gates: MemoryGates, memory: Tensor, momentum: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output at the tokens of one chunk, and memory and momentum after it."""
        y, memory, momentum = memory_chunk(q, k, v, gates, memory, momentum)
        return y * self.chunk_size, memory, momentum

    def learn_token(
        self, q: Tensor, k: Tensor, v: Tensor, gates: MemoryGates, state: MemoryState
    ) -> tuple[Tensor, MemoryState]:
        """Return the output ``(B, H, d)`` at one token, and the state after it."""
        y, state = memory_step(state, q, k, v, gates, chunk_size=self.chunk_size)
        return y * self.chunk_size, state

    def answer(self, x: Tensor, memory: Tensor) -> Tensor:
        """Return what a memory maps unit vectors ``(B, H, T, d)`` to, with norms of about 1.

        The memory is normalised, not each result. The tokens of a chunk are similar, so that the memory is
        nearly of rank one, and each result divided by its own norm would be the sign of ``q . k`` times one
        vector. Passed from chunk to chunk, this discontinuity would double every error.
        """
        memory = memory * self.chunk_size
        length = memory.square().sum((-2, -1), keepdim=True)
        return x @ (memory * (length + EPS * self.head_dim).rsqrt())

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k, v ``(..., H, d)`` in at least fp32."""
        exact = torch.promote_types(x.dtype, torch.float32)
        q, k, v = F.silu(self.qkv_proj(x).to(exact)).unflatten(-1, (3, self.num_heads, -1)).unbind(-3)
        return unit(q), unit(k), v

    def gates(self, x: Tensor) -> list[MemoryGates]:
        """Return the gates ``(..., H)`` of each direction in at least fp32."""
        exact = torch.promote_types(x.dtype, torch.float32)
        raw = self.gate_proj(x).to(exact).unflatten(-1, (self.directions, 3, self.num_heads))
        gates = []
        for step, momentum, forget in (direction.unbind(-2) for direction in raw.unbind(-3)):
            theta = step.sigmoid() * (-momentum).sigmoid() / self.chunk_size
            gates.append(MemoryGates(theta, F.logsigmoid(momentum), F.logsigmoid(-forget)))
        return gates


def unit(x: Tensor) -> Tensor:
    """Divide by the norm, with a gradient at 0 too."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-12).rsqrt()


def pick(x: Tensor, index: Tensor) -> Tensor:
    """Gather ``(B, T, ...)`` by ``(B, S)`` along time.

    ``torch.take_along_dim`` would do the same, but compiles a graph for every number of rows.
    """
    return x.gather(1, index.reshape(index.shape + (1,) * (x.ndim - 2)).expand(-1, -1, *x.shape[2:]))


def _reversed(x: Tensor, layout: Layout) -> Tensor:
    """Reverse each document of ``(B, T, ...)`` in place."""
    return x.flip(1) if layout.dense else pick(x, layout.reversal)


def chunk_slots(layout: Layout, chunk_size: int) -> Slots:
    """Return places in which real tokens are contiguous and every document starts a new chunk.

    For packed rows this reads the number of chunks, one synchronisation per forward pass.
    """
    mask, length = layout.mask, layout.mask.shape[1]
    rank = mask.cumsum(1) - 1
    inside = rank - torch.where(layout.starts, rank, 0).cummax(1).values
    begins = mask & (inside % chunk_size == 0)
    chunk = begins.cumsum(1) - 1
    chunks = int(chunk.max()) + 1 if layout.packed else -(-length // chunk_size)
    width = max(chunks, 1) * chunk_size
    slot = torch.where(mask, chunk * chunk_size + inside % chunk_size, width)
    columns = torch.arange(length, device=mask.device).expand_as(slot)
    token = slot.new_zeros(len(slot), width + 1).scatter(1, slot, columns)[:, :width]
    filled = torch.zeros_like(token, dtype=torch.bool)
    filled = F.pad(filled, (0, 1)).scatter(1, slot, True)[:, :width]
    first = token[:, ::chunk_size]
    fresh = layout.starts.gather(1, first) if layout.packed else None
    return Slots(slot.clamp(max=width - 1), token, filled, fresh)
