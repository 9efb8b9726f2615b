"""The neural memory of titan_attn with two layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ultra_blocks.functional.deep_memory import answer, deep_memory, deep_memory_chunk, deep_memory_step
from ultra_blocks.functional.neural_memory import MemoryGates, MemoryState
from ultra_blocks.linear import LinearFactory
from ultra_blocks.mixers.titan.memory import TitanMemory, unit

EXPANSION = 2
"""Width between the layers divided by that of a head."""

STEEPNESS = 4
"""Divisor of the step sizes of :class:`TitanMemory`."""


class DeepMemory(TitanMemory):
    """An MLP per head, ``M(x) = x + o / |o|`` with ``o = silu(x W_1) W_2``, that learns on the sequence.

    It differs from :class:`TitanMemory` in that the weights of an empty memory are parameters, with width 2 d
    between the layers, since an MLP at 0 has no gradient. Forgetting returns to them. Both directions start
    from the same weights. The output is ``M_t(q_t)`` itself, not times C.

    To keep the steps from diverging or oscillating on similar tokens, ``o / |o|`` has norm 1 whatever the
    weights, values are divided by their norms, and theta is a quarter of that of the matrix,
    ``sigma(w_theta x - 3) (1 - eta) / (4 C)``, because two layers at their initial weights are that much
    steeper.

    Args:
        hidden_size, num_heads, causal, chunk_size, linear: as in :class:`TitanMemory`.
    """

    def __init__(
        self, hidden_size: int, *, num_heads: int, causal: bool, chunk_size: int, linear: LinearFactory
    ) -> None:
        super().__init__(
            hidden_size, num_heads=num_heads, causal=causal, chunk_size=chunk_size, linear=linear
        )
        between = EXPANSION * self.head_dim
        self.first = nn.Parameter(torch.empty(num_heads, self.head_dim, between))
        self.second = nn.Parameter(torch.empty(num_heads, between, self.head_dim))

    @torch.no_grad()
    def reset_start(self) -> None:
        """Set the biases of the gates, and initialise weights so that unit keys give inner values N(0, 1)."""
        super().reset_start()
        self.first.normal_()
        self.second.normal_(0.0, self.head_dim**-0.5)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k, v ``(..., H, d)`` of norm 1 in at least fp32."""
        q, k, v = super().project(x)
        return q, k, unit(v)

    def gates(self, x: Tensor) -> list[MemoryGates]:
        """Return the gates ``(..., H)`` of each direction in at least fp32."""
        return [gate._replace(step=gate.step / STEEPNESS) for gate in super().gates(x)]

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of the memory of a head: both layers, the second transposed."""
        return (2, *self.first.shape[1:])

    def learn(
        self, q: Tensor, k: Tensor, v: Tensor, gates: MemoryGates, *, own: float, fresh: Tensor | None
    ) -> Tensor:
        """Return the output ``(B, T, H, d)`` while the memory learns."""
        start = self._start()
        return deep_memory(q, k, v, gates, start, chunk_size=self.chunk_size, own=own, fresh=fresh)

    def learn_chunk(
        self, q: Tensor, k: Tensor, v: Tensor, gates: MemoryGates, memory: Tensor, momentum: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output at the tokens of one chunk, and memory and momentum after it."""
        return deep_memory_chunk(q, k, v, gates, self._start(), memory, momentum)

    def learn_token(
        self, q: Tensor, k: Tensor, v: Tensor, gates: MemoryGates, state: MemoryState
    ) -> tuple[Tensor, MemoryState]:
        """Return the output ``(B, H, d)`` at one token, and the state after it."""
        return deep_memory_step(state, q, k, v, gates, self._start(), chunk_size=self.chunk_size)

    def answer(self, x: Tensor, memory: Tensor) -> Tensor:
        """Return what a memory maps unit vectors ``(B, H, T, d)`` to, with norms of about 1."""
        return answer(x, self._start() + memory)

    def _start(self) -> Tensor:
        """Return the initial weights ``(H, 2, d, n)``, in at least fp32."""
        start = torch.stack((self.first, self.second.mT), 1)
        return start.to(torch.promote_types(start.dtype, torch.float32))
