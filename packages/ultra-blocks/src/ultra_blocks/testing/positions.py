"""The rules of position codes."""

from __future__ import annotations

from typing import Any, get_args

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.positions import Kind, PositionCode
from ultra_blocks.testing.cases import PositionCase, noise
from ultra_blocks.testing.construction import POSITION_RULES
from ultra_blocks.testing.differences import check_close
from ultra_blocks.testing.draws import Batch, batches
from ultra_blocks.testing.idle_parameters import check_trained
from ultra_blocks.testing.parameters import check_description, check_drawing, check_saving
from ultra_core.errors import listed
from ultra_core.testing import Finding

REMEMBERED = (
    "compute what depends on it in every call, and not in `layout.remember`, which takes no gradients"
)

SHORT = 8
"""Tokens of a row that every code accepts."""


def scores(code: PositionCode, q: Tensor, k: Tensor, layout: Layout) -> Tensor:
    """Return the scores ``(B, H, T, T)`` of q and k with a position code of any kind."""
    if code.kind == "rotate":
        q, k = code.rotate(q, k, layout)
    if code.kind == "scores":
        return code.scores(q, k, layout)
    product = q @ k.mT
    return product + code.bias(layout, q.dtype) if code.kind == "bias" else product


def _drawn_scores(
    case: PositionCase, batch: Batch, layout: Layout, dtype: torch.dtype = torch.float64
) -> Tensor:
    code = _code(case.build(dtype))
    shape = (len(batch.rows), 2, batch.width, case.hidden_size // 2)
    q, k = (
        torch.randn(shape, generator=batch.generator(salt), dtype=torch.float64).to(dtype) for salt in (5, 6)
    )
    pairs = (layout.documents[:, :, None] == layout.documents[:, None]) & layout.mask[:, None]
    return torch.where(pairs[:, None], scores(code, q, k, layout), 0.0)


def _code(module: nn.Module) -> PositionCode:
    assert isinstance(module, PositionCode), f"{type(module).__name__} is no PositionCode"
    return module


@POSITION_RULES("P1")
def kind(case: PositionCase) -> None:
    """A code has a known kind and the method of that kind; its other methods raise ValueError.

    Fix: set ``kind`` to one of "rotate", "bias", "scores", "embed" and "none", define the method of that name
    only, and derive from ``PositionCode``, whose other methods raise.
    """
    code, layout = _code(case.build()), Layout.full(1, 3)
    if code.kind not in get_args(Kind):
        raise Finding(f"kind is {code.kind!r}; it is one of {listed(list(get_args(Kind)))}")
    q = torch.zeros(1, 2, 3, case.hidden_size // 2, dtype=torch.float64)
    calls = {
        "rotate": (q, q, layout),
        "bias": (layout, q.dtype),
        "scores": (q, q, layout),
        "embed": (layout,),
    }
    for method, arguments in calls.items():
        try:
            getattr(code, method)(*arguments)
        except ValueError as error:
            if method == code.kind:
                raise Finding(
                    f"the kind is {code.kind!r}, and {method}() raises ValueError: {error}"
                ) from error
        else:
            if method != code.kind:
                raise Finding(f"the kind is {code.kind!r}, and {method}() answers too")


def _scored(case: PositionCase) -> bool:
    return case.declares("kind") in ("rotate", "bias", "scores")


@POSITION_RULES(
    "P2",
    draw=st.tuples(batches(documents=(1, 2)), st.integers(1, 10_000)),
    when=lambda c: c.declares("relative") and _scored(c),
    after=("P1",),
)
def relative(case: PositionCase, drawn: tuple[Batch, int]) -> None:
    """Scores of a relative code do not change when all positions are shifted by the same number.

    Fix: use differences of ``layout.positions`` only, taken as integers; a code of absolute positions sets
    ``relative = False``.
    """
    batch, by = drawn
    layout = batch.layout()
    moved = Layout.from_mask(layout.mask, layout.documents, layout.positions + by)
    for dtype, limit in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        got, wanted = (_drawn_scores(case, batch, given, dtype) for given in (moved, batch.layout()))
        check_close(
            got, wanted, limit, what=f"with positions + {by}, score", other="without", note=str(dtype)
        )


@POSITION_RULES(
    "P3",
    draw=batches(documents=(1, 2)),
    when=lambda c: c.declares("symmetric") and _scored(c),
    after=("P1",),
)
def symmetric(case: PositionCase, batch: Batch) -> None:
    """Scores of a symmetric code do not change when positions are counted from the other end.

    Fix: use absolute values of differences of positions, or set ``symmetric = False``.
    """
    layout = batch.layout()
    last = layout.positions.amax() + 1
    mirrored = Layout.from_mask(layout.mask, layout.documents, last - layout.positions)
    got, wanted = (_drawn_scores(case, batch, given) for given in (mirrored, layout))
    check_close(got, wanted, 1e-11, what="with mirrored positions, score", other="without")


@POSITION_RULES(
    "P4",
    draw=batches(rows=(1, 1), documents=(1, 1), paddings=("inside",)),
    when=_scored,
    after=("P1",),
)
def position_padding(case: PositionCase, batch: Batch) -> None:
    """Scores between real tokens do not depend on padding.

    Fix: read positions from ``layout.positions``, which count real tokens, not from ``torch.arange(T)``.
    """
    layout = batch.layout()
    length = sum(batch.rows[0])
    code = _code(case.build())
    shape = (1, 2, batch.width, case.hidden_size // 2)
    q, k = (torch.randn(shape, generator=batch.generator(salt), dtype=torch.float64) for salt in (5, 6))
    real = layout.mask[0]
    padded = scores(code, q, k, layout)[:, :, real][..., real]
    alone = scores(code, q[:, :, real], k[:, :, real], Layout.full(1, length))
    check_close(padded, alone, 1e-13, what="score", other="without padding")


@POSITION_RULES("P5")
def position_parameters(case: PositionCase) -> None:
    """The state dict holds the whole state, and every parameter is described and gets a gradient.

    What ``layout.remember`` computes gets none; it must not depend on parameters.

    Fix: compute tables in ``forward`` from Python numbers, and describe parameters in ``parameter_info``, as
    in ``{"table.weight": ParamInfo(role="embeddings", kind="embedding")}``.
    """
    check_description(case.build())
    check_saving(case)
    check_drawing(case)
    code: Any = case.build()
    if code.kind != "none":
        layout, q = Layout.full(1, SHORT), noise(1, 2, SHORT, case.hidden_size // 2)
        y = code.embed(layout) if code.kind == "embed" else scores(code, q, q, layout)
        check_trained(code, y, given=f"{SHORT} tokens", slices=False, fix=REMEMBERED)
