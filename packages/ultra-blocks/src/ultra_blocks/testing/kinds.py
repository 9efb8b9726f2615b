"""The rules of norms, FFNs and position codes."""

from __future__ import annotations

from typing import get_args

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.positions import Kind, PositionCode
from ultra_blocks.testing.cases import (
    Case,
    FFNCase,
    NormCase,
    PositionCase,
    output,
)
from ultra_blocks.testing.construction import FFN_RULES, NORM_RULES, POSITION_RULES
from ultra_blocks.testing.differences import check_close, check_finite
from ultra_blocks.testing.draws import Batch, batches
from ultra_blocks.testing.exactness import check_answer, check_zero, named_gradients
from ultra_blocks.testing.finite_differences import check_gradients
from ultra_blocks.testing.numerics import AUTOCAST, AUTOCAST_STEPS, check_norm
from ultra_blocks.testing.parameters import check_description, check_drawing, check_saving, described
from ultra_core.errors import listed
from ultra_core.testing import Finding

SEEDS = st.integers(0, 999)


def _tokens(case: Case, seed: int, *shape: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, case.hidden_size, generator=g, dtype=torch.float64)


@NORM_RULES("N1", draw=SEEDS)
def last_dimension(case: NormCase, seed: int) -> None:
    """A norm acts on the last dimension only: the output of a token does not depend on other tokens.

    Fix: reduce over the last dimension only, ``x.mean(-1, keepdim=True)``.
    """
    module, x = case.build(), _tokens(case, seed, 2, 5)
    y = module(x)
    check_answer(y, x)
    alone = torch.stack([torch.stack([module(token) for token in row]) for row in x])
    check_close(y, alone, case.allows(1e-14), other="of the token alone")


@NORM_RULES("N2", draw=st.tuples(SEEDS, st.sampled_from([0.0, 1e-4, 1.0, 1e4])))
def norm_finiteness(case: NormCase, drawn: tuple[int, float]) -> None:
    """Outputs and gradients are finite in every dtype, for zeros (as at padding) and for large inputs.

    Fix: add ``eps`` inside the root, ``torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)``, compute
    in at least fp32, and return the dtype of the input.
    """
    seed, scale = drawn
    exact = case.build()(scale * _tokens(case, seed, 2, 5))
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        module, x = case.build(dtype), (scale * _tokens(case, seed, 2, 5)).to(dtype).requires_grad_()
        y = module(x)
        check_answer(y, x)
        found = {"output": y, **named_gradients(module, y, torch.ones_like(y), [x], ["the input"])}
        check_finite(found, f"input scale {scale:g}, {dtype}")
        if scale:
            check_close(y, exact, 5e-2, other="in fp64", note=f"input scale {scale:g}, {dtype}")


@NORM_RULES("N3", draw=SEEDS, examples=3)
def norm_gradients(case: NormCase, seed: int) -> None:
    """Gradients agree with finite differences in fp64.

    Fix: do not detach the statistics: gradients flow through the mean and the root, too.
    """
    module = case.build()
    check_gradients(case, module, _tokens(case, seed, 3), module)


@NORM_RULES("N4")
def norm_parameters(case: NormCase) -> None:
    """Parameters are in the state dict and have the role norms; initialisation follows the global seed.

    Fix: derive from ``ultra_blocks.norms.base.Norm``, or name the vectors ``weight`` and ``bias`` as torch
    does.
    """
    module: nn.Module = case.build()
    x = _tokens(case, 0, 3)
    check_description(module)
    roles = {name: info.role if info is not None else "other" for name, info in described(module).items()}
    for name, role in roles.items():
        if role != "norms":
            raise Finding(f"{name} has the role {role!r}, not 'norms'")
    check_close(check_saving(case)(x), module(x), 0.0, what="loaded, output", other="before saving")
    check_drawing(case)


@FFN_RULES("F1", draw=batches(rows=(1, 2), documents=(0, 2)), examples=6)
def ffn_padding(case: FFNCase, batch: Batch) -> None:
    """Outputs and gradients do not depend on padding; outputs at padding are exact zeros.

    Fix: clear padding before and after: ``x = layout.zero_padding(x)`` first, and ``return
    layout.zero_padding(y)`` if a bias or an activation moves zeros (``if layout is not None``).
    """
    module, layout = case.build(), batch.layout()
    tokens = batch.tokens(case.hidden_size)
    y = output(module, batch.place(tokens, layout, case.hidden_size), layout)
    check_zero("output", y, ~layout.mask)
    found = named_gradients(module, y, torch.ones_like(y), tokens)
    check_finite(found, "padding is NaN or large")
    if not tokens:
        return
    alone = output(module, torch.cat(tokens)[None], None)
    bare = torch.zeros_like(y).masked_scatter(layout.mask[..., None], alone[0])
    check_close(y, bare, case.allows(1e-12), other="without padding")
    wanted = named_gradients(module, alone, torch.ones_like(alone), tokens)
    for name, g in wanted.items():
        check_close(found[name], g, case.allows(1e-11), what=name, other="without padding")


@FFN_RULES("F2", draw=batches(rows=(1, 1), paddings=("none",)), examples=3)
def ffn_numbers(case: FFNCase, batch: Batch) -> None:
    """Gradients agree with finite differences, evaluation is deterministic, bf16 autocast is within 5 %.

    Fix: look for ``detach()`` and in-place writes; draw only in training; compute what needs more digits in
    fp32. An FFN that rounds declares ``traits: ClassVar = NumericTraits(straight_through=True)``.
    """
    module, layout = case.build(), batch.layout()
    x = batch.place(batch.tokens(case.hidden_size), layout, case.hidden_size).detach()
    y = output(module, x, layout).detach()
    check_answer(y, x)
    check_close(output(module, x, layout), y, 0.0, other="the first time")
    with torch.autocast("cpu", torch.bfloat16):
        half = output(case.build(torch.float32), x.float(), layout)
    check_norm(half, y, AUTOCAST_STEPS if case.traits.straight_through else AUTOCAST)
    check_gradients(case, lambda x: output(module, x, layout), x, module)


@FFN_RULES("F3")
def ffn_parameters(case: FFNCase) -> None:
    """Parameters are in the state dict and described; initialisation uses torch's global generator.

    Fix: derive from ``FeedForward`` or write ``parameter_info``; a plain module leaves it to the types of its
    modules. Draw with ``nn.init``.
    """
    module, x = case.build(), _tokens(case, 0, 1, 3)
    check_description(module)
    loaded = output(check_saving(case), x, None)
    check_close(loaded, output(module, x, None), 0.0, what="loaded, output", other="before saving")
    check_drawing(case)


def _scores(code: PositionCode, q: Tensor, k: Tensor, layout: Layout) -> Tensor:
    """Return the scores ``(B, H, T, T)`` of q and k with a position code of any kind."""
    if code.kind == "rotate":
        q, k = code.rotate(q, k, layout)
    if code.kind == "scores":
        return code.scores(q, k, layout)
    scores = q @ k.mT
    return scores + code.bias(layout, q.dtype) if code.kind == "bias" else scores


def _drawn_scores(
    case: PositionCase, batch: Batch, layout: Layout, dtype: torch.dtype = torch.float64
) -> Tensor:
    code = _code(case.build(dtype))
    shape = (len(batch.rows), 2, batch.width, case.hidden_size // 2)
    q, k = (
        torch.randn(shape, generator=batch.generator(salt), dtype=torch.float64).to(dtype) for salt in (5, 6)
    )
    pairs = (layout.documents[:, :, None] == layout.documents[:, None]) & layout.mask[:, None]
    return torch.where(pairs[:, None], _scores(code, q, k, layout), 0.0)


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
    padded = _scores(code, q, k, layout)[:, :, real][..., real]
    alone = _scores(code, q[:, :, real], k[:, :, real], Layout.full(1, length))
    check_close(padded, alone, 1e-13, what="score", other="without padding")


@POSITION_RULES("P5")
def position_parameters(case: PositionCase) -> None:
    """The state dict holds the whole state, and every parameter is described.

    Fix: compute tables in ``forward`` from Python numbers, and describe parameters in ``parameter_info``, as
    in ``{"table.weight": ParamInfo(role="embeddings", kind="embedding")}``.
    """
    check_description(case.build())
    check_saving(case)
    check_drawing(case)
