"""Faults that begin beyond the lengths of short tests: borders of chunks, tables, windows and caches."""

from __future__ import annotations

from typing import Any

import torch
from blocks.testing.attention import Attention
from blocks.testing.recurrence import ChunkedRecurrence, Recurrence
from torch import Tensor

from ultra_blocks.layout import Layout

CAUSAL, BOTH = {"causal": True}, {"causal": False}


class DropsTheState(Recurrence):
    def entering(self, state: Any, ranks: Tensor, documents: Tensor) -> Tensor:
        return 0 * super().entering(state, ranks, documents)


class DetachesTheState(Recurrence):
    def entering(self, state: Any, ranks: Tensor, documents: Tensor) -> Tensor:
        return super().entering((state[0].detach(), *state[1:]), ranks, documents)


class RoundsTheState(Recurrence):
    def entering(self, state: Any, ranks: Tensor, documents: Tensor) -> Tensor:
        return super().entering((state[0].float().to(state[0].dtype), *state[1:]), ranks, documents)


class DecaysTheStateOnceMore(Recurrence):
    def entering(self, state: Any, ranks: Tensor, documents: Tensor) -> Tensor:
        return super().entering(state, ranks + 1, documents)


class CarriesTheStateAcrossDocuments(Recurrence):
    def entering(self, state: Any, ranks: Tensor, documents: Tensor) -> Tensor:
        real = torch.where(documents >= 0, 0, -1)
        return super().entering((*state[:2], torch.zeros_like(state[2])), ranks, real)


class DecaysTheStateByColumns(Recurrence):
    def end(self, ranks: Tensor, documents: Tensor, state: Any) -> tuple[Tensor, Tensor]:
        rank, document = super().end(ranks, documents, state)
        return torch.where(rank > 0, ranks[:, 0] + ranks.shape[1] - 1, rank), document


class ForgetsTheStateInAChunkOfPadding(Recurrence):
    def end(self, ranks: Tensor, documents: Tensor, state: Any) -> tuple[Tensor, Tensor]:
        rank, document = super().end(ranks, documents, state)
        return rank, torch.where((documents >= 0).any(1), document, -1)


class LosesATokenAfterFullChunks(Recurrence):
    def scan(self, u: Tensor, ranks: Tensor, documents: Tensor) -> Tensor:
        if u.shape[1] > self.chunk and u.shape[1] % self.chunk == 1:
            return torch.cat([super().scan(u[:, :-1], ranks[:, :-1], documents[:, :-1]), u[:, -1:]], 1)
        return super().scan(u, ranks, documents)


class DropsTheStateOfLargeChunks(ChunkedRecurrence):
    def entering(self, state: Any, ranks: Tensor, documents: Tensor) -> Tensor:
        return super().entering(state, ranks, documents) * (self.chunk < 100)


class DecodesInHalfPrecision(Recurrence):
    def step(self, x_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        self.count = getattr(self, "count", 0) + 1
        state = state.float().to(state.dtype) if self.count > 64 else state
        return super().step(x_t, state)


class SeesTheNextTokenInLongRows(Attention):
    def allowed(self, layout: Layout) -> Tensor:
        if not self.causal or layout.mask.shape[1] <= 64:
            return super().allowed(layout)
        documents = layout.documents
        return ((documents[:, :, None] == documents[:, None]) & layout.mask[:, None]).tril(1)


class SeesItsWholeTile(Attention):
    def allowed(self, layout: Layout) -> Tensor:
        allowed = super().allowed(layout)
        last = torch.arange(allowed.shape[1])
        tiles = (last[:, None] // 128 == last // 128) & (last[:, None] >= 128)
        documents = layout.documents
        return allowed | (tiles & (documents[:, :, None] == documents[:, None]) & layout.mask[:, None])


class ScalesByTheLength(Attention):
    def attend(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        length = q.shape[2]
        return super().attend(
            q * (1.1 if length >= 256 and length & (length - 1) == 0 else 1.0), k, v, allowed
        )


class ClampsColumns(Attention):
    def places(self, layout: Layout) -> Tensor:
        return layout.positions.clamp(max=63) if layout.indexed else layout.positions


class ClampsColumnsOfFullRows(Attention):
    def places(self, layout: Layout) -> Tensor:
        return layout.positions.clamp(max=63) if layout.dense and layout.indexed else layout.positions


class HasANarrowWindow(Attention):
    def allowed(self, layout: Layout) -> Tensor:
        behind = layout.positions[:, :, None] - layout.positions[:, None]
        return super().allowed(layout) & (behind.abs() < 256)


class SeesItsOwnBlockAlone(Attention):
    def allowed(self, layout: Layout) -> Tensor:
        blocks = layout.positions // 128
        return super().allowed(layout) & (blocks[:, :, None] == blocks[:, None])


class ForgetsOldKeys(Attention):
    def cached(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if keys.shape[2] <= 256:
            return keys, values
        return torch.cat([keys[:, :, :1], keys[:, :, 2:]], 2), torch.cat(
            [values[:, :, :1], values[:, :, 2:]], 2
        )


class CountsDocumentsTo64(Attention):
    def allowed(self, layout: Layout) -> Tensor:
        documents = layout.documents.clamp(max=63)
        layout = Layout(layout.mask, documents, layout.positions, layout.padded, layout.packed)
        return super().allowed(layout)


class SkipsLongPadding(Attention):
    def allowed(self, layout: Layout) -> Tensor:
        allowed = super().allowed(layout)
        late = torch.arange(allowed.shape[1]) >= 64
        first = layout.mask.long().argmax(1) >= 100
        return allowed | (
            first[:, None, None] & late & (allowed.any(-1, keepdim=True)) & ~layout.mask[:, None]
        )


class RoundsLongScores(Attention):
    def attend(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        if q.shape[2] <= 128:
            return super().attend(q, k, v, allowed)
        return super().attend(q.float(), k.float(), v.float(), allowed).to(v.dtype)


class IsRestlessInLongRows(Attention):
    def attend(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        if self.training and q.shape[2] > 64:
            allowed = allowed & (torch.rand(allowed.shape[-1]) > 0.1)
        return super().attend(q, k, v, allowed)


MUTANTS = [
    ("B4b", DropsTheState, BOTH),
    ("B5c", DropsTheState, CAUSAL),
    ("B10b", DetachesTheState, BOTH),
    ("B10b", DetachesTheState, CAUSAL),
    ("B10b", RoundsTheState, BOTH),
    ("B5c", RoundsTheState, CAUSAL),
    ("B5c", DecaysTheStateOnceMore, CAUSAL),
    ("B7b", CarriesTheStateAcrossDocuments, BOTH),
    ("B1c", DecaysTheStateByColumns, BOTH),
    ("B1c", ForgetsTheStateInAChunkOfPadding, CAUSAL),
    ("B1c", LosesATokenAfterFullChunks, BOTH),
    ("B3b", LosesATokenAfterFullChunks, CAUSAL),
    ("B5d", DropsTheStateOfLargeChunks, BOTH),
    ("B5c", DecodesInHalfPrecision, CAUSAL),
    ("B3b", SeesTheNextTokenInLongRows, CAUSAL),
    ("B3b", SeesItsWholeTile, CAUSAL),
    ("B1c", ScalesByTheLength, BOTH),
    ("B3b", ScalesByTheLength, CAUSAL),
    ("B4c", ClampsColumns, BOTH),
    ("B8b", ClampsColumns, CAUSAL),
    ("B4c", ClampsColumnsOfFullRows, CAUSAL),
    ("B4b", HasANarrowWindow, BOTH),
    ("B4b", HasANarrowWindow, CAUSAL),
    ("B4b", SeesItsOwnBlockAlone, CAUSAL),
    ("B5c", ForgetsOldKeys, CAUSAL),
    ("B7b", CountsDocumentsTo64, BOTH),
    ("B1c", SkipsLongPadding, BOTH),
    ("B10b", RoundsLongScores, BOTH),
    ("B12b", IsRestlessInLongRows, BOTH),
]
