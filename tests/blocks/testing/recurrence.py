"""A linear recurrence that is computed chunk by chunk and keeps every rule; mutants are subclasses of it."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer, Traits


class Recurrence(Mixer):
    """Decaying sums ``s_t = a s_{t-1} + u_t``, gated: ``y = W_o (sigmoid(W_g x) * s)``, ``u = W_u x``.

    Bidirectional sums run in both directions, and count the token itself once.
    """

    role: ClassVar[str] = "retention"
    traits: ClassVar[Traits] = Traits(recurrent_step=True, symmetric=True)
    chunk: ClassVar[int] = 64

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.in_proj = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.out_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.decay = nn.Parameter(torch.full((hidden_size,), 3.0))
        self.reset_parameters()

    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        return {"in_proj.weight": (self.hidden_size,) * 2}

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        layout = layout or Layout.full(x.shape[0], x.shape[1], x.device)
        u, gate = self.in_proj(self.enter(x, layout)).chunk(2, -1)
        ranks = layout.mask.cumsum(1)
        sums = self.scan(u, ranks, layout.documents)
        if not self.causal:
            back = self.scan(u.flip(1), (ranks[:, -1:] - ranks + 1).flip(1), layout.documents.flip(1))
            sums = sums + back.flip(1) - u
        return self.leave(self.out_proj(gate.sigmoid() * sums), layout)

    def powers(self, distances: Tensor) -> Tensor:
        """Return the decays ``(..., D)`` over distances in tokens."""
        return (nn.functional.logsigmoid(self.decay) * distances[..., None]).exp()

    def scan(self, u: Tensor, ranks: Tensor, documents: Tensor) -> Tensor:
        """Return the sums of each document, from the left."""
        sums, state = [], None
        for start in range(0, u.shape[1], self.chunk):
            part = slice(start, start + self.chunk)
            own, state = self.scan_chunk(u[:, part], ranks[:, part], documents[:, part], state)
            sums.append(own)
        return torch.cat(sums, 1) if sums else u

    def scan_chunk(self, u: Tensor, ranks: Tensor, documents: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the sums in a chunk, and the state after it: a sum, its rank and its document."""
        real = documents >= 0
        allowed = ((documents[:, :, None] == documents[:, None]) & real[:, None]).tril()
        decays = self.powers((ranks[:, :, None] - ranks[:, None]).clamp(min=0)) * allowed[..., None]
        sums = (decays * u[:, None]).sum(2)
        rank, document = self.end(ranks, documents, state)
        own = real & (documents == document[:, None])
        after = (self.powers(rank[:, None] - ranks) * own[..., None] * u).sum(1)
        if state is not None:
            sums = sums + self.entering(state, ranks, documents)
            after = after + self.entering(state, rank[:, None], document[:, None])[:, 0]
        return sums, (after, rank, document)

    def end(self, ranks: Tensor, documents: Tensor, state: Any) -> tuple[Tensor, Tensor]:
        """Return the rank at the end of a chunk, and the document of the last real token so far."""
        before = torch.full_like(documents[:, :1], -1) if state is None else state[2][:, None]
        last = torch.where(documents >= 0, torch.arange(documents.shape[1]), -1).amax(1, keepdim=True)
        document = torch.where(last >= 0, documents.gather(1, last.clamp(min=0)), before)
        return ranks[:, -1], document[:, 0]

    def entering(self, state: Any, ranks: Tensor, documents: Tensor) -> Tensor:
        """Return what the state adds to the sums at tokens."""
        total, rank, document = state
        same = (documents == document[:, None]) & (documents >= 0)
        return self.powers((ranks - rank[:, None]).clamp(min=0)) * same[..., None] * total[:, None]

    def init_state(self, batch: int) -> Tensor:
        self.require_causal()
        return torch.zeros(batch, self.hidden_size, dtype=self.decay.dtype)

    def step(self, x_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        self.enter_step(x_t, state)
        u, gate = self.in_proj(x_t).chunk(2, -1)
        state = self.decay.sigmoid() * state + u
        return self.out_proj(gate.sigmoid() * state), state


class ChunkedRecurrence(Recurrence):
    """The same with the size of chunks as an option."""

    traits: ClassVar[Traits] = attrs.evolve(Recurrence.traits, speed_only=frozenset({"chunk_size"}))

    def __init__(self, hidden_size: int, *, causal: bool = False, chunk_size: int = 64) -> None:
        super().__init__(hidden_size, causal=causal)
        self.chunk = chunk_size  # type: ignore[misc]
