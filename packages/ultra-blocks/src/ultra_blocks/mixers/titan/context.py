"""Memory as context, the variant of titan_attn that processes one segment after another."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.functional.attention import explicit_attention, soft_capped
from ultra_blocks.functional.neural_memory import MemoryGates, MemoryState
from ultra_blocks.layout import Layout
from ultra_blocks.layout.masks import key_mask
from ultra_blocks.mixers.softmax import columns
from ultra_blocks.mixers.titan.memory import Slots, TitanMemory, chunk_slots, pick, unit
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.positions import PositionCode


class ContextBlock(Protocol):
    """The block whose variant ``mac`` the functions of this module compute."""

    memory: TitanMemory | None
    positions: PositionCode
    persistent: nn.Parameter | None
    retrieval_proj: nn.Module
    retrieved_gain: nn.Parameter
    attention_norm: RMSNorm
    qkv_proj: nn.Module
    num_heads: int
    head_dim: int
    causal: bool
    training: bool
    softcap: float | None
    dropout: float

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k and v ``(B, H, T, d)`` of tokens ``(B, T, D)``."""

    def scores(self, q: Tensor, k: Tensor, layout: Layout) -> Tensor:
        """Return the scaled scores ``(B, H, T, S)``, by the position code if that computes them."""

    def gate(self, heads: Tensor, read: Tensor) -> Tensor:
        """Return ``heads sigmoid(norm(read))``, both ``(..., H, d)``, as ``(..., D)``."""


class ContextState(NamedTuple):
    """Decoding state of the variant ``mac``, for the t tokens of the segment so far.

    Attributes:
        keys: ``(B, H, t, d)``.
        values: ``(B, H, t, d)``.
        retrieved_keys: ``(B, H, t, d)``, keys of the tokens retrieved from the memory.
        retrieved_values: ``(B, H, t, d)``, their values.
        memory: state of the neural memory.
    """

    keys: Tensor
    values: Tensor
    retrieved_keys: Tensor
    retrieved_values: Tensor
    memory: MemoryState


def read_segments(block: ContextBlock, x: Tensor, layout: Layout) -> Tensor:
    """Return the gated outputs of the heads, concatenated ``(B, T, D)``; ``x`` is zero at padding.

    The memory after a segment depends on the attention in the segment, which depends on the memory before it,
    so that segments are processed in sequence. Everything that does not depend on the memory, such as the
    scores between the tokens of a segment, is computed for all segments at once.
    """
    memory = block.memory
    assert memory is not None, "the constructor makes it"
    if x.shape[1] == 0:
        return x
    size, heads = memory.chunk_size, block.num_heads
    slots: Slots = layout.remember(("titan chunks", size), lambda: chunk_slots(layout, size))
    filled = slots.filled.unflatten(1, (-1, size))
    count = filled.shape[1]
    mask = filled.flatten(0, 1)
    tokens = torch.where(slots.filled[..., None], pick(x, slots.token), 0.0).unflatten(1, (-1, size))
    tokens = tokens.flatten(0, 1)
    plain, k, v = block.project(tokens)
    q, scores = plain, _token_scores(block, plain, k, _segments(layout, slots, size), v.dtype)
    seen = key_mask(mask)
    earlier = torch.ones(size, size, dtype=torch.bool, device=x.device).tril()
    if block.causal:
        seen = seen & earlier
    scores = scores.masked_fill(~seen, float("-inf"))
    queries = _retrieval_queries(block, tokens)

    def directions(part: Tensor, *along: int) -> tuple[Tensor, ...]:
        """Return the segments ``(R, ...)``; the other direction is added as rows in reverse order."""
        part = part.unflatten(0, (-1, count))
        return (part if block.causal else torch.cat((part, part.flip(1, *along)))).unbind(1)

    begins, ends = _borders(slots, filled)
    opening = (begins if block.causal else torch.cat((begins, ends.flip(1)))).unbind(1)
    state = memory.init_state(len(opening[0]))
    kept, momentum = state.memory, state.momentum
    fixed = _persistent(block)
    outputs = []
    parts = (directions(q, 3), directions(scores, 3, 4), directions(v, 3), directions(queries, 2))
    for opens, real, q_c, scores_c, v_c, query_c in zip(opening, directions(mask, 2), *parts, strict=True):
        first = opens.reshape(-1, *(1,) * (kept.ndim - 1))
        kept, momentum = torch.where(first, 0.0, kept), torch.where(first, 0.0, momentum)
        k_h, v_h = _retrieved(block, query_c, kept)
        near = _plain_scores(block, q_c, k_h)
        hidden = opens[:, None, None, None] | ~real[:, None, None, :]
        near = near.masked_fill(hidden | ~earlier if block.causal else hidden, float("-inf"))
        y = _attended(block, q_c, (near, scores_c), (v_h, v_c), fixed)
        vectors, gates = memory.project(y), memory.gates(y)
        if not block.causal:
            own = (torch.cat((a[: len(x)], b[len(x) :])) for a, b in zip(*gates, strict=True))
            gates = [MemoryGates(*own)]
        neutral = MemoryGates(*(torch.where(real[..., None], gate, 0.0) for gate in gates[0]))
        read, kept, momentum = memory.learn_chunk(*vectors, neutral, kept, momentum)
        outputs.append(block.gate(y.unflatten(-1, (heads, -1)), read))
    y = torch.stack(outputs, 1)
    if not block.causal:
        ahead, behind = y.chunk(2)
        y = (ahead + behind.flip(1, 2)) / 2
    return pick(y.flatten(1, 2), slots.slot)


def context_state(block: ContextBlock, batch: int) -> ContextState:
    """Return the state of ``batch`` rows before their first token."""
    assert block.memory is not None, "the constructor makes it"
    empty = next(block.qkv_proj.parameters()).new_empty(batch, block.num_heads, 0, block.head_dim)
    return ContextState(empty, empty, empty, empty, block.memory.init_state(batch))


def context_step(block: ContextBlock, x_t: Tensor, state: ContextState) -> tuple[Tensor, ContextState]:
    """Return the gated outputs of the heads at the next token ``(B, D)``, and the updated state."""
    memory = block.memory
    assert memory is not None, "the constructor makes it"
    length = state.memory.length
    inside = length % memory.chunk_size
    kept = state.memory.start if inside else state.memory.memory
    q, k, v = block.project(x_t[:, None])
    old = [cached[:, :, :inside] for cached in state[:4]]
    layout = columns(x_t, length - inside, inside + 1)
    plain = q
    if block.positions.kind == "rotate":
        q, k = block.positions.rotate(q, k, columns(x_t, length, 1))
    keys, values = torch.cat((old[0], k), 2), torch.cat((old[1], v), 2)
    if block.positions.kind == "scores":
        q = q.expand(-1, -1, inside + 1, -1)
    scores = soft_capped(block.scores(q, keys, layout)[:, :, -1:], block.softcap)
    if block.positions.kind == "bias":
        scores = scores + block.positions.bias(layout, v.dtype)[:, :, -1:]
    near = scores[..., :0]
    k_h, v_h = old[2:]
    if length >= memory.chunk_size:
        new = _retrieved(block, _retrieval_queries(block, x_t[:, None]), kept)
        k_h, v_h = (torch.cat(pair, 2) for pair in zip(old[2:], new, strict=True))
        near = _plain_scores(block, plain, k_h)
    y = _attended(block, plain, (near, scores), (v_h, values), _persistent(block))[:, 0]
    read, after = memory.step(y, state.memory)
    y = block.gate(y.unflatten(-1, (block.num_heads, -1)), read)
    return y, ContextState(keys, values, k_h, v_h, after)


def _segments(layout: Layout, slots: Slots, size: int) -> Layout:
    """Return segments as rows; positions are those in the document."""

    def make() -> Layout:
        mask = slots.filled.unflatten(1, (-1, size)).flatten(0, 1)
        positions = pick(layout.positions, slots.token).unflatten(1, (-1, size)).flatten(0, 1)
        documents = torch.where(mask, 0, -1)
        return Layout(mask, documents, torch.where(mask, positions, 0), padded=True, packed=False)

    found: Layout = layout.remember(("titan segments", size), make)
    return found


def _borders(slots: Slots, filled: Tensor) -> tuple[Tensor, Tensor]:
    """Return masks ``(B, n)`` of the first and of the last segments of documents."""
    first = torch.zeros_like(filled[:, :, 0])
    first[:, 0] = True
    begins = first if slots.fresh is None else first | slots.fresh
    return begins, F.pad((begins | ~filled[:, :, 0])[:, 1:], (0, 1), value=True)


def _token_scores(block: ContextBlock, q: Tensor, k: Tensor, segments: Layout, dtype: torch.dtype) -> Tensor:
    """Return the scores ``(B n, H, w, w)`` between tokens of a segment, before masks."""
    if block.positions.kind == "rotate":
        q, k = block.positions.rotate(q, k, segments)
    scores = soft_capped(block.scores(q, k, segments), block.softcap)
    return scores + block.positions.bias(segments, dtype) if block.positions.kind == "bias" else scores


def _plain_scores(block: ContextBlock, q: Tensor, k: Tensor) -> Tensor:
    """Return the scores of keys without position, with the soft cap of the block."""
    return soft_capped(q @ k.to(q.dtype).mT * block.head_dim**-0.5, block.softcap)


def _retrieval_queries(block: ContextBlock, x: Tensor) -> Tensor:
    """Return the retrieval queries ``(..., w, H, d)``, in at least fp32."""
    exact = torch.promote_types(x.dtype, torch.float32)
    return unit(F.silu(block.retrieval_proj(x).to(exact)).unflatten(-1, (block.num_heads, -1)))


def _retrieved(block: ContextBlock, queries: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Return keys and values ``(R, H, w, d)`` of the tokens retrieved from the memory."""
    assert block.memory is not None, "the constructor makes it"
    with torch.autocast(queries.device.type, enabled=False):
        answers = block.memory.answer(queries.transpose(1, 2), kept).transpose(1, 2)
        tokens = (answers * block.head_dim**0.5 * block.retrieved_gain).flatten(2)
    _, k, v = block.project(tokens.to(next(block.qkv_proj.parameters()).dtype))
    return k, v


def _persistent(block: ContextBlock) -> tuple[Tensor, Tensor] | None:
    return None if block.persistent is None else block.project(block.persistent[None])[1:]


def _attended(
    block: ContextBlock,
    q: Tensor,
    scores: tuple[Tensor, ...],
    values: tuple[Tensor, ...],
    fixed: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """Return the normalised outputs of the heads ``(R, w, D)`` over retrieved, own and persistent tokens."""
    if fixed is not None:
        k, v = fixed
        scores = (*scores, _plain_scores(block, q, k))
        values = (*values, v.expand(len(q), -1, -1, -1))
    exact = torch.promote_types(q.dtype, torch.float32)
    dropout = block.dropout if block.training else 0.0
    y = explicit_attention(
        torch.cat([part.to(exact) for part in scores], -1),
        torch.cat([part.to(values[1].dtype) for part in values], -2),
        dropout=dropout,
    )
    return block.attention_norm(y.transpose(1, 2)).flatten(2)
