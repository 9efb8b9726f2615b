"""Rules of batches of long rows: padding and packing beyond the size of a chunk."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from ultra_blocks.testing.cases import BlockCase, gradients, output, takes_columns
from ultra_blocks.testing.construction import BLOCK_RULES
from ultra_blocks.testing.differences import check_close
from ultra_blocks.testing.draws import Batch, Padding
from ultra_blocks.testing.long_rows import LENGTHS, LIMIT
from ultra_core.testing import Finding

Rows = tuple[tuple[int, ...], ...]

PADDED: tuple[tuple[Rows, Padding, int], ...] = (
    (tuple((n,) for n in LENGTHS if n < 130), "right", 70),
    (((150,), (255,), (256,), (257,)), "right", 43),
    (((511,), (512,), (513,)), "right", 1),
    (((64,), (150,), (256,)), "left", 130),
    (((129,), (300,)), "inside", 150),
    (((2,), (3,), (9,)), "inside", 300),
)
"""Rows of one document, the place of the padding, and its least length."""

PACKED: tuple[tuple[Rows, Padding, int], ...] = (
    (((70, 150, 300),), "none", 0),
    (((129, 127, 256), (64, 65, 63, 128, 192)), "none", 0),
    (((3,) * 66,), "none", 0),
    (((40, 70, 5, 129, 3, 257), (255, 2, 200)), "left", 70),
    (((100, 33, 200), (31,) * 8, ()), "inside", 100),
)
"""Rows of documents that cross the borders of chunks at different places, or are many."""


@BLOCK_RULES("B1c", after=("B1", "B2"), unless=takes_columns(520))
def long_padding(case: BlockCase) -> None:
    """Outputs and gradients of long rows do not depend on padding, also of more than a chunk.

    Fix: look for what uses columns where it means tokens: borders of chunks, positions, windows, the last
    state. Clear padding before the first projection (``x = self.enter(x, layout)``), and move the real tokens
    together (``layout.real_first``) before anything that runs over neighbours.
    """
    _check_all(case, PADDED)


@BLOCK_RULES("B7b", after=("B7", "B1c"), when=lambda case: case.packs, unless=takes_columns(580))
def long_packing(case: BlockCase) -> None:
    """Documents that are packed into long rows have the same outputs and gradients as in rows of their own.

    Documents begin and end inside of chunks, cross several, fill them exactly, or share one with many others.

    Fix: reset states at ``layout.starts`` also in the middle of a chunk, and where the state that enters a
    chunk belongs to a document that has ended; mask the pairs of other documents in every path.
    """
    _check_all(case, PACKED)


def _check_all(case: BlockCase, kinds: tuple[tuple[Rows, Padding, int], ...]) -> None:
    module = case.build()
    for seed, (rows, padding, extra) in enumerate(kinds):
        batch = Batch(rows, padding, extra, seed, torch.float64)
        _check(module, batch, case.hidden_size, case.allows(LIMIT))


def _check(module: nn.Module, batch: Batch, width: int, limit: float) -> None:
    """Compare the documents in a batch with the same ones in rows of their own."""
    layout, documents = batch.layout(), batch.tokens(width)
    y = output(module, batch.place(documents, layout, width), layout)
    where = _short(f"T = {batch.width}, padding {batch.padding}, documents {batch.rows}")
    if y[~layout.mask].any():
        raise Finding(f"an output at padding is not zero; {where}")
    together = list(y[layout.mask].split([len(tokens) for tokens in documents]))
    alone = _alone(module, documents)
    places = [f"the document of {n} in row {b}" for b, row in enumerate(batch.rows) for n in row]
    outputs = zip(places, together, alone, strict=True)
    _compare([(f"output of {place}", got, wanted) for place, got, wanted in outputs], where, limit)
    leaves = [*documents, *module.parameters()]
    names = [f"gradient of {name}" for name in (*places, *(name for name, _ in module.named_parameters()))]
    noise = torch.randn(sum(map(len, alone)), width, generator=batch.generator(4)).to(y.dtype)
    both = [gradients(torch.cat(ys), noise, leaves) for ys in (together, alone)]
    _compare(list(zip(names, *both, strict=True)), where, limit)


def _compare(tensors: list[tuple[str, Tensor, Tensor]], note: str, limit: float) -> None:
    """Compare tensors in the batch with those alone; errors are relative to the largest number of all."""
    largest = torch.stack([wanted.detach().abs().max() for _, _, wanted in tensors]).max()
    for name, got, wanted in tensors:
        check_close(got, wanted, limit, what=name, other="alone", scale=largest, note=note)


def _short(text: str) -> str:
    return text if len(text) < 160 else f"{text[:160]}..."


def _alone(module: nn.Module, documents: list[Tensor]) -> list[Tensor]:
    """Return the outputs ``(n, D)`` of documents without padding; those of the same length form a batch."""
    same: dict[int, list[int]] = defaultdict(list)
    for index, tokens in enumerate(documents):
        same[len(tokens)].append(index)
    found: dict[int, Tensor] = {}
    for indices in same.values():
        y = output(module, torch.stack([documents[i] for i in indices]), None)
        found.update(zip(indices, y, strict=True))
    return [found[i] for i in range(len(documents))]
