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
    check_gradients,
    gradients,
    output,
)
from ultra_blocks.testing.construction import FFN_RULES, NORM_RULES, POSITION_RULES
from ultra_blocks.testing.draws import Batch, batches, relative_error
from ultra_blocks.testing.parameters import check_description, check_drawing, check_saving, described

SEEDS = st.integers(0, 999)


def _tokens(case: Case, seed: int, *shape: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, case.hidden_size, generator=g, dtype=torch.float64)


@NORM_RULES("N1", draw=SEEDS)
def last_dimension(case: NormCase, seed: int) -> None:
    """A norm acts on the last dimension only: the output of a token does not depend on other tokens."""
    module, x = case.build(), _tokens(case, seed, 2, 5)
    y = module(x)
    assert y.shape == x.shape, f"input {tuple(x.shape)}, output {tuple(y.shape)}"
    alone = torch.stack([torch.stack([module(token) for token in row]) for row in x])
    assert relative_error(y, alone) <= 1e-14, "a token's output depends on other tokens"


@NORM_RULES("N2", draw=st.tuples(SEEDS, st.sampled_from([0.0, 1e-4, 1.0, 1e4])))
def norm_finiteness(case: NormCase, drawn: tuple[int, float]) -> None:
    """Outputs and gradients are finite in every dtype, for zeros (as at padding) and for large inputs."""
    seed, scale = drawn
    exact = case.build()(scale * _tokens(case, seed, 2, 5))
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        module, x = case.build(dtype), (scale * _tokens(case, seed, 2, 5)).to(dtype).requires_grad_()
        y = module(x)
        assert y.dtype == dtype, f"input {dtype}, output {y.dtype}"
        found = [y, *gradients(y, torch.ones_like(y), [x, *module.parameters()])]
        assert all(t.isfinite().all() for t in found), f"NaN or infinity at input scale {scale:g} in {dtype}"
        error = relative_error(y, exact) if scale else 0.0
        assert error < 5e-2, f"in {dtype} the output is {error:.1e} off at input scale {scale:g}"


@NORM_RULES("N3", draw=SEEDS, examples=3)
def norm_gradients(case: NormCase, seed: int) -> None:
    """Gradients agree with finite differences in fp64."""
    module = case.build()
    check_gradients(module, _tokens(case, seed, 3), module)


@NORM_RULES("N4")
def norm_parameters(case: NormCase) -> None:
    """Parameters are in the state dict and have the role norms; initialisation follows the global seed."""
    module: nn.Module = case.build()
    x = _tokens(case, 0, 3)
    check_description(module)
    roles = {info.role for info in described(module).values()}
    assert roles <= {"norms"}, f"roles {roles}"
    assert torch.equal(check_saving(case)(x), module(x)), "the loaded norm gives other outputs"
    check_drawing(case)


@FFN_RULES("F1", draw=batches(rows=(1, 2), documents=(0, 2)), examples=6)
def ffn_padding(case: FFNCase, batch: Batch) -> None:
    """Outputs and gradients do not depend on padding; outputs at padding are exact zeros."""
    module, layout = case.build(), batch.layout()
    tokens = batch.tokens(case.hidden_size)
    x = batch.place(tokens, layout, case.hidden_size)
    y = output(module, x, layout)
    assert (y[~layout.mask] == 0).all(), "an output at padding is not zero"
    leaves = [*tokens, *module.parameters()]
    found = gradients(y, torch.ones_like(y), leaves)
    assert all(g.isfinite().all() for g in found), "NaN under padding reaches a gradient"
    if tokens:
        bare = output(module, torch.cat(tokens)[None], None)
        assert relative_error(y[layout.mask], bare[0]) <= 1e-12, "real tokens depend on padding"
        wanted = gradients(bare, torch.ones_like(bare), leaves)
        errors = [relative_error(a, b) for a, b in zip(found, wanted, strict=True)]
        assert max(errors) <= 1e-11, f"gradients depend on padding, by {max(errors):.1e}"


@FFN_RULES("F2", draw=batches(rows=(1, 1), paddings=("none",)), examples=3)
def ffn_numbers(case: FFNCase, batch: Batch) -> None:
    """Gradients agree with finite differences, evaluation is deterministic, bf16 autocast is within 5 %."""
    module, layout = case.build(), batch.layout()
    x = batch.place(batch.tokens(case.hidden_size), layout, case.hidden_size).detach()
    y = output(module, x, layout).detach()
    assert y.shape == x.shape, f"input {tuple(x.shape)}, output {tuple(y.shape)}"
    assert torch.equal(y, output(module, x, layout)), "two calls in evaluation differ"
    with torch.autocast("cpu", torch.bfloat16):
        half = output(case.build(torch.float32), x.float(), layout)
    error = float((half.detach().double() - y).norm() / y.norm())
    assert error <= 5e-2, f"under autocast the output is {error:.1%} off"
    check_gradients(lambda x: output(module, x, layout), x, module)


@FFN_RULES("F3")
def ffn_parameters(case: FFNCase) -> None:
    """Parameters are in the state dict and described; initialisation uses torch's global generator."""
    module, x = case.build(), _tokens(case, 0, 1, 3)
    check_description(module)
    assert torch.equal(output(check_saving(case), x, None), output(module, x, None)), "loaded, it differs"
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
    assert isinstance(module, PositionCode), "a position code derives from PositionCode"
    return module


@POSITION_RULES("P1")
def kind(case: PositionCase) -> None:
    """A code has a known kind and the method of that kind; its other methods raise ValueError."""
    code, layout = _code(case.build()), Layout.full(1, 3)
    assert code.kind in get_args(Kind), f"kind {code.kind!r}"
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
        except ValueError:
            assert method != code.kind, f"{method}() raises"
        else:
            assert method == code.kind, f"{method}() answers although the kind is {code.kind!r}"


def _scored(case: PositionCase) -> bool:
    return case.cls.kind in ("rotate", "bias", "scores")


@POSITION_RULES(
    "P2",
    draw=st.tuples(batches(documents=(1, 2)), st.integers(1, 10_000)),
    when=lambda c: c.cls.relative and _scored(c),
)
def relative(case: PositionCase, drawn: tuple[Batch, int]) -> None:
    """Scores of a relative code do not change when all positions are shifted by the same number."""
    batch, by = drawn
    layout = batch.layout()
    moved = Layout.from_mask(layout.mask, layout.documents, layout.positions + by)
    for dtype, limit in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        error = relative_error(
            _drawn_scores(case, batch, moved, dtype), _drawn_scores(case, batch, batch.layout(), dtype)
        )
        assert error <= limit, f"moved by {by} in {dtype} they differ by {error:.1e}, limit {limit:.0e}"


@POSITION_RULES("P3", draw=batches(documents=(1, 2)), when=lambda c: c.cls.symmetric and _scored(c))
def symmetric(case: PositionCase, batch: Batch) -> None:
    """Scores of a symmetric code do not change when positions are counted from the other end."""
    layout = batch.layout()
    last = layout.positions.amax() + 1
    mirrored = Layout.from_mask(layout.mask, layout.documents, last - layout.positions)
    error = relative_error(_drawn_scores(case, batch, mirrored), _drawn_scores(case, batch, layout))
    assert error <= 1e-11, f"they differ by {error:.1e}"


@POSITION_RULES("P4", draw=batches(rows=(1, 1), documents=(1, 1), paddings=("inside",)), when=_scored)
def position_padding(case: PositionCase, batch: Batch) -> None:
    """Scores between real tokens do not depend on padding."""
    layout = batch.layout()
    length = sum(batch.rows[0])
    code = _code(case.build())
    shape = (1, 2, batch.width, case.hidden_size // 2)
    q, k = (torch.randn(shape, generator=batch.generator(salt), dtype=torch.float64) for salt in (5, 6))
    real = layout.mask[0]
    padded = _scores(code, q, k, layout)[:, :, real][..., real]
    alone = _scores(code, q[:, :, real], k[:, :, real], Layout.full(1, length))
    error = relative_error(padded, alone)
    assert error <= 1e-13, f"they differ by {error:.1e}"


@POSITION_RULES("P5")
def position_parameters(case: PositionCase) -> None:
    """The state dict holds the whole state, and every parameter is described."""
    check_description(case.build())
    check_saving(case)
    check_drawing(case)
