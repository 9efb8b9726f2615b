"""The long-term memory of titan_attn: projections, gates, both directions, chunks that no padding shifts."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.functional.neural_memory import Gates, Memory, memory_chunk, memory_step, neural_memory
from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory, fused_linear

BIASES = (-3.0, 2.0, -4.0)
"""First biases of the gates of step size, momentum and forgetting."""

EPS = 1e-6
"""Beside the mean square of a memory's columns, as in an RMS norm: one that has learnt less fades out."""


class Slots(NamedTuple):
    """Where tokens stand when every document begins with a chunk of its own.

    Attributes:
        slot: ``(B, T)``, place of each token; padding has some place.
        token: ``(B, W)``, the token that stands at a place, if ``filled``.
        filled: ``(B, W)`` bool.
        fresh: ``(B, n)`` bool, chunks with which a document begins; None: the first alone.
    """

    slot: Tensor
    token: Tensor
    filled: Tensor
    fresh: Tensor | None


class TitanMemory(nn.Module):
    """A matrix a head that learns, while it reads, what value follows from a key.

    ``q, k, v = silu(W x)``, q and k divided by their length; gates of each token and head, ``sigma`` the
    logistic function: ``eta = sigma(w_eta x + 2)``, ``alpha = sigma(w_alpha x - 4)`` and
    ``theta = sigma(w_theta x - 3) (1 - eta) / C``. Then :func:`~ultra_blocks.functional.neural_memory`,
    times C. Bidirectional: the sum of both directions, which share q, k, v and have gates of their own; of
    the steps that a token makes itself it reads the mean, so that they count once.

    The factor ``(1 - eta) / C`` makes theta the step on the mean loss of a chunk, averaged by momentum: with
    unit keys any constant gates descend, however alike the keys. Steps of ``sigma(w_theta x - 3)`` on every
    token's loss, all taken at one memory, overshoot by more with every chunk as soon as keys are alike.

    Args:
        hidden_size: width D of the stream.
        num_heads: heads H of ``d = D / H``.
        causal: read the past alone.
        chunk_size: tokens C whose gradients are taken at one memory, counted from the start of a document.
        linear: makes the projection of q, k, v; gates are always full precision.
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
        """Return what each token reads ``(B, T, H, d)``, at least fp32; ``x`` is zero at padding."""
        gates = self.gates(x)
        vectors = torch.stack(self.project(x), 2)
        if not self.causal:  # the other direction joins as more rows
            vectors = torch.cat((vectors, _reversed(vectors, layout)))
            back = (_reversed(gate, layout) for gate in gates[1])
            gates = [Gates(*(torch.cat(pair) for pair in zip(gates[0], back, strict=True)))]
        y = self._read(vectors, gates[0], layout)
        if not self.causal:
            ahead, behind = y.chunk(2)
            y = ahead + _reversed(behind, layout)
        return y

    def _read(self, vectors: Tensor, gates: Gates, layout: Layout) -> Tensor:
        """Run the memory over rows ``(B, T, 3, H, d)`` of one or of both directions."""
        repeats = self.directions
        own = 1.0 if self.causal else 0.5
        straight = layout.indexed and not layout.packed  # chunks of columns are chunks of tokens
        if straight:
            mask = layout.mask.repeat(repeats, 1)[..., None] if layout.padded else None
            slots, fresh = None, None
        else:
            key = ("titan chunks", self.chunk_size)
            found: Slots = layout.remember(key, lambda: chunk_slots(layout, self.chunk_size))
            token, slots, mask = (part.repeat(repeats, 1) for part in (found.token, found.slot, found.filled))
            fresh = None if found.fresh is None else found.fresh.repeat(repeats, 1)
            vectors = pick(vectors, token)
            gates = Gates(*(pick(gate, token) for gate in gates))
            mask = mask[..., None]
        if mask is not None:
            gates = Gates(*(torch.where(mask, gate, 0.0) for gate in gates))
        q, k, v = vectors.unbind(2)
        y = self.learn(q, k, v, gates, own=own, fresh=fresh)
        return y if slots is None else pick(y, slots)

    def init_state(self, batch: int) -> Memory:
        """Return the empty memory of ``batch`` rows."""
        weight = self.gate_proj.weight
        exact = torch.promote_types(weight.dtype, torch.float32)
        empty = weight.new_zeros(batch, self.num_heads, *self.state_shape, dtype=exact)
        return Memory(empty, empty, empty, 0)

    def step(self, x_t: Tensor, state: Memory) -> tuple[Tensor, Memory]:
        """Return what the next token ``(B, D)`` reads ``(B, H, d)``, and the state after it."""
        return self.learn_token(*self.project(x_t), self.gates(x_t)[0], state)

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of what a head has learnt."""
        return (self.head_dim, self.head_dim)

    def learn(
        self, q: Tensor, k: Tensor, v: Tensor, gates: Gates, *, own: float, fresh: Tensor | None
    ) -> Tensor:
        """Return what all tokens read ``(B, T, H, d)`` while the memory learns."""
        y = neural_memory(q, k, v, gates, chunk_size=self.chunk_size, own=own, fresh=fresh)
        return y * self.chunk_size

    def learn_chunk(
        self, q: Tensor, k: Tensor, v: Tensor, gates: Gates, memory: Tensor, momentum: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the tokens of one chunk read, and memory and momentum after it."""
        y, memory, momentum = memory_chunk(q, k, v, gates, memory, momentum)
        return y * self.chunk_size, memory, momentum

    def learn_token(
        self, q: Tensor, k: Tensor, v: Tensor, gates: Gates, state: Memory
    ) -> tuple[Tensor, Memory]:
        """Return what one token reads ``(B, H, d)``, and the state after it."""
        y, state = memory_step(state, q, k, v, gates, chunk_size=self.chunk_size)
        return y * self.chunk_size, state

    def answer(self, x: Tensor, memory: Tensor) -> Tensor:
        """Return what unit vectors ``(B, H, T, d)`` read of a memory, about as long as these are.

        It is the memory that is normed, not each answer: tokens of a chunk resemble each other, a memory of
        them is nearly of rank one, and each answer divided by its own length were the sign of ``q . k`` times
        one vector. Such a jump, handed on from chunk to chunk, doubles every error on its way.
        """
        memory = memory * self.chunk_size
        length = memory.square().sum((-2, -1), keepdim=True)
        return x @ (memory * (length + EPS * self.head_dim).rsqrt())

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k, v ``(..., H, d)`` in at least fp32."""
        exact = torch.promote_types(x.dtype, torch.float32)
        q, k, v = F.silu(self.qkv_proj(x).to(exact)).unflatten(-1, (3, self.num_heads, -1)).unbind(-3)
        return unit(q), unit(k), v

    def gates(self, x: Tensor) -> list[Gates]:
        """Return the gates ``(..., H)`` of each direction in at least fp32."""
        exact = torch.promote_types(x.dtype, torch.float32)
        raw = self.gate_proj(x).to(exact).unflatten(-1, (self.directions, 3, self.num_heads))
        gates = []
        for step, momentum, forget in (direction.unbind(-2) for direction in raw.unbind(-3)):
            theta = step.sigmoid() * (-momentum).sigmoid() / self.chunk_size
            gates.append(Gates(theta, F.logsigmoid(momentum), F.logsigmoid(-forget)))
        return gates


def unit(x: Tensor) -> Tensor:
    """Divide by the length, with a gradient at 0 too."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-12).rsqrt()


def pick(x: Tensor, index: Tensor) -> Tensor:
    """Gather ``(B, T, ...)`` by ``(B, S)`` along time."""
    return torch.take_along_dim(x, index.reshape(index.shape + (1,) * (x.ndim - 2)), 1)


def _reversed(x: Tensor, layout: Layout) -> Tensor:
    """Reverse each document of ``(B, T, ...)`` in place."""
    return x.flip(1) if layout.dense else pick(x, layout.reversal)


def chunk_slots(layout: Layout, chunk_size: int) -> Slots:
    """Return places in which real tokens follow each other and documents begin with a chunk of their own.

    Packed rows look at how many chunks there are: one synchronisation a forward.
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
