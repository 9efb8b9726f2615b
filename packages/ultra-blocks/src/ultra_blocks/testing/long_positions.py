"""Rules of position codes: long rows, growing tables, low precision, and rows with positions of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import PositionCase, noise
from ultra_blocks.testing.construction import POSITION_RULES
from ultra_blocks.testing.differences import check_close
from ultra_blocks.testing.positions import scores
from ultra_core.testing import Finding

FAR = (0, 1, 30, 62, 63, 64, 65, 127, 128, 129, 255, 256, 300, 511, 512, 513, 599)
"""Positions that are compared: around the sizes that tables have."""

BORDERS = tuple(2**n for n in range(3, 15))
"""Lengths that tables have, up to 16384."""

CALLS = (
    (5, torch.float64),
    (90, torch.float32),
    (40, torch.float64),
    (None, torch.float64),
    (5, torch.float64),
)
"""Lengths and dtypes of consecutive calls; None: the longest row."""

LOW = {torch.float32: 5e-3, torch.bfloat16: 3e-2}
"""Limits of the relative error at position 10,000, with angles in fp32."""


def _codes(case: PositionCase) -> bool:
    return case.declares("kind") != "none"


def _of(case: PositionCase, code: Any, layout: Layout, q: Tensor, k: Tensor) -> Tensor:
    """Return the scores ``(B, H, T, T)``, or the embeddings ``(B, T, D)``."""
    return code.embed(layout) if code.kind == "embed" else scores(code, q, k, layout)


def _at(rows: list[list[int]]) -> Layout:
    """Return a layout without padding, with the given positions."""
    positions = torch.tensor(rows)
    mask = torch.ones(positions.shape, dtype=torch.bool)
    return Layout.from_mask(mask, torch.zeros_like(positions), positions)


def _part(whole: Tensor, index: Tensor, embeds: bool) -> Tensor:
    return whole[:, index] if embeds else whole[:, :, index][..., index]


def _drawn(case: PositionCase, length: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Return q and k ``(1, H, T, d)``; those of a shorter row are the first of a longer one."""
    size = (FAR[-1] + 1, 2, case.hidden_size // 2)
    q, k = (noise(*size, seed=seed).transpose(0, 1)[None, :, :length].to(dtype) for seed in (1, 2))
    return q, k


def _longest(case: PositionCase, code: Any) -> int:
    """Return the longest row that is tried; a code with a table may refuse longer ones, by ValueError."""
    for length in (FAR[-1] + 1, 512, 256, 64, 8):
        try:
            _of(case, code, Layout.full(1, length), *_drawn(case, length))
        except ValueError:
            continue
        return length
    raise Finding("no row of 8 tokens or more is accepted")


@POSITION_RULES("P4b", after=("P1",), when=_codes, least="quick")
def long_rows(case: PositionCase) -> None:
    """A code is a function of positions, also in long rows, and tells positions beyond 64 and 512 apart.

    With a relative code, neighbours have the same scores at all positions, also across the ends of tables.

    Fix: compute tables for the positions of the layout; clamp nothing. A table that is too short raises
    ValueError.
    """
    code: Any = case.build()
    length = _longest(case, code)
    q, k = _drawn(case, length)
    embeds = code.kind == "embed"
    if case.declares("relative") and not embeds:
        _check_steps(case, code)
    index = torch.tensor([p for p in FAR if p < length])
    whole = _part(_of(case, code, Layout.full(1, length), q, k), index, embeds)
    few = _of(case, code, _at([index.tolist()]), q[:, :, index], k[:, :, index])
    what = "embedding" if embeds else "score"
    check_close(
        few, whole, 1e-10, what=f"of positions {index.tolist()} alone, {what}", other=f"in a row of {length}"
    )
    if embeds:
        near = torch.cdist(few[0], few[0]) + torch.eye(len(index), dtype=few.dtype)
        if (same := (near < 1e-9).nonzero()).numel():
            first, second = (int(index[i]) for i in same[0])
            raise Finding(f"positions {first} and {second} have the same embedding")


def _check_steps(case: PositionCase, code: Any) -> None:
    """Compare the scores of neighbours at the borders of tables with those of the first two positions."""
    for last in BORDERS:
        layout = _at([[0, 1, 2, last - 1, last, last + 1]])
        q, k = (t[:, :, :1].expand(-1, -1, 6, -1) for t in _drawn(case, 1))
        try:
            found = _of(case, code, layout, q, k)[0].diagonal(offset=1, dim1=1, dim2=2)
        except ValueError:
            return  # a table that ends
        for i in (3, 4):
            pair = f"({last + i - 4}, {last + i - 3})"
            what = f"at positions {pair}, scores of equal queries and keys"
            check_close(found[:, i], found[:, 0], 1e-9, what=what, other="at (0, 1)")


@POSITION_RULES("P4c", after=("P4b",), when=_codes)
def tables_grow(case: PositionCase) -> None:
    """A code has the same answers after it was called with shorter or longer rows, or in another dtype.

    Fix: key what is kept by length, dtype, device and options, or keep it in ``layout.remember(key, make)``.
    """
    used: Any = case.build()
    longest = _longest(case, case.build())
    for length, dtype in CALLS:
        length = min(length or longest, longest)
        q, k = _drawn(case, length, dtype)
        got, want = (_of(case, code.to(dtype), Layout.full(1, length), q, k) for code in (used, case.build()))
        what = f"after other calls, with {length} tokens in {dtype}, answer"
        check_close(got, want, 1e-12 if dtype == torch.float64 else 1e-5, what=what, other="of a fresh code")


@POSITION_RULES("P4d", after=("P1",), when=lambda case: _codes(case) and case.declares("kind") != "embed")
def low_precision(case: PositionCase) -> None:
    """Positions up to 10,000 keep apart when activations are fp32 or bf16.

    bf16 has 8 bits: 10,000 and 10,001 are the same number.

    Fix: compute angles and distances from integers, in fp32 at least, and cast the result: ``angle =
    positions.float() * frequencies``.
    """
    layout = _at([list(range(9994, 10_001))])
    for dtype, limit in LOW.items():
        q, k = (t.to(dtype) for t in _drawn(case, 7))
        if case.declares("kind") == "bias":
            got, want = (_bias(case.build(t), layout, t) for t in (dtype, torch.float64))
        else:
            got = _parts(case.build(dtype), q, k, layout)
            want = _parts(case.build(), q.double(), k.double(), layout)
        check_close(got, want, limit, what=f"in {dtype} at positions up to 10,000, answer", other="in fp64")


def _bias(code: Any, layout: Layout, dtype: torch.dtype) -> Tensor:
    return code.bias(layout, dtype)


def _parts(code: Any, q: Tensor, k: Tensor, layout: Layout) -> Tensor:
    return torch.stack(code.rotate(q, k, layout)) if code.kind == "rotate" else code.scores(q, k, layout)


@POSITION_RULES("P4e", after=("P4",), when=_codes, least="quick")
def own_positions(case: PositionCase) -> None:
    """Positions are those of each row and start again in each document, so that packing changes nothing.

    Fix: use ``layout.positions``, ``(B, T)``, of every row, not those of the first row, nor the columns.
    """
    code: Any = case.build()
    longest = _longest(case, case.build())
    for scale in (1, LONG):
        layout = _own(scale)
        columns = layout.mask.shape[1]
        if columns > longest:
            continue
        q, k = (t.expand(3, -1, -1, -1) for t in _drawn(case, columns))
        together = _of(case, code, layout, q, k)
        together = together.expand(3, *together.shape[1:])
        for row, document in ((0, 0), (0, 1), (1, 0), (2, 0), (2, 1)):
            index = (layout.mask[row] & (layout.documents[row] == document)).nonzero().flatten()
            alone = _of(case, code, Layout.full(1, len(index)), q[:1, :, index], k[:1, :, index])
            got = _part(together[row : row + 1], index, code.kind == "embed")
            what = f"document {document} of row {row} of a batch (3, {columns}), answer"
            check_close(got, alone, 1e-12, what=what, other="of the document alone")


LONG = 12
"""How much longer the long rows are, which have 168 columns."""


def _own(scale: int) -> Layout:
    """Return two documents in a row, padding on the left, and two documents with padding inside the first."""
    mask = torch.ones(3, 14, dtype=torch.bool)
    documents = torch.zeros(3, 14, dtype=torch.long)
    mask[1, :6] = mask[2, 3:5] = False
    documents[0, 5:] = documents[2, 9:] = 1
    return Layout.from_mask(mask.repeat_interleave(scale, 1), documents.repeat_interleave(scale, 1))
