from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ultra_blocks.functional import tile_scores
from ultra_blocks.functional.attention import explicit_attention
from ultra_blocks.functional.tiled_attention import score_bias, tiled_attention
from ultra_blocks.layout import Layout

HEADS = 3


SIZES = [(1, 2), (60, 3), (2**17, 256)]
"""Tiles of a few rows, of some heads, of several batch rows."""


@contextmanager
def tile_size(budget: int, rows: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tile_scores.BUDGET, "cpu", budget)
        patch.setattr(tile_scores, "MIN_ROWS", rows)
        yield


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    length = draw(st.integers(1, 11))
    g = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    mask = torch.rand(3, length, generator=g) < draw(st.sampled_from([0.5, 0.9, 2.0]))
    documents = (torch.rand(3, length, generator=g) < 0.3).cumsum(1) if draw(st.booleans()) else None
    return Layout.from_mask(mask, documents)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs(layout: Layout) -> tuple[Tensor, ...]:
    rows, length = layout.mask.shape
    widths = (4, 4, 5)
    return tuple(
        layout.zero_padding(drawn(rows, length, HEADS, width, seed=i)).transpose(1, 2).requires_grad_()
        for i, width in enumerate(widths)
    )


@given(
    layouts(),
    st.fixed_dictionaries(
        {
            "causal": st.booleans(),
            "window": st.sampled_from([None, 1, 4]),
            "softcap": st.sampled_from([None, 1.5]),
            "normalised": st.booleans(),
        }
    ),
    st.sampled_from([None, "shift", "bias", "one bias"]),
    st.sampled_from([0, 1, 2]),
    st.sampled_from(SIZES),
)
def test_equals_the_explicit_form_with_all_gradients(
    layout: Layout, options: dict[str, Any], added: str | None, directions: int, size: tuple[int, int]
) -> None:
    rows, length = layout.mask.shape
    q, k, v = inputs(layout)
    leaves = [q, k, v]
    shift = drawn(rows, length, seed=3) if added == "shift" else None
    bias = None
    if added in ("bias", "one bias"):
        shape = (rows, HEADS) if added == "bias" else (1, 1)
        bias = drawn(*shape, length, length, seed=4)
    decays = None
    if directions:
        decays = -drawn(directions, rows, HEADS, length, seed=5).abs().cumsum(-1).requires_grad_()
        leaves.append(decays)
    with tile_size(*size):
        y = tiled_attention(q, k, v, layout, query_bias=shift, bias=bias, decay_sums=decays, **options)
        real = layout.mask[:, None, :, None]
        y = torch.where(real, y, 0.0)
        noise = drawn(*y.shape, seed=6)
        gradients = torch.autograd.grad(y, leaves, noise)
    terms = [t for t in (bias, score_bias(shift, decays)) if t is not None]
    mask = layout.attention_mask(options["causal"], options["window"])
    wanted = explicit_attention(
        q @ k.mT * 0.5,
        v,
        mask=mask,
        bias=sum(terms[1:], terms[0]) if terms else None,
        softcap=options["softcap"],
        normalised=options["normalised"],
    )
    wanted = torch.where(real, wanted, 0.0)
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-12)
    for ours, theirs in zip(gradients, torch.autograd.grad(wanted, leaves, noise), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("normalised", [False, True])
def test_gradients_are_finite_differences(normalised: bool) -> None:
    layout = Layout.from_mask(torch.tensor([[True, True, False, True], [True, False, False, False]]))
    q, k, v = (drawn(2, 2, 4, 3, seed=i).requires_grad_() for i in range(3))
    f = -drawn(2, 2, 2, 4, seed=4).abs().cumsum(-1).requires_grad_()

    def attend(q: Tensor, k: Tensor, v: Tensor, f: Tensor) -> Tensor:
        return tiled_attention(q, k, v, layout, decay_sums=f, softcap=2.0, normalised=normalised)

    with tile_size(1, 2):
        torch.autograd.gradcheck(attend, (q, k, v, f))


@pytest.mark.parametrize("normalised", [False, True])
def test_dropout_is_drawn_once_for_both_passes(normalised: bool) -> None:
    layout = Layout.full(2, 40)
    q, k = (drawn(2, 2, 40, 4, seed=i).requires_grad_() for i in range(2))
    v = torch.eye(40, dtype=torch.float64).expand(2, 2, -1, -1).clone().requires_grad_()  # y is the weights
    whole = tiled_attention(q, k, v, layout, normalised=normalised)

    def dropped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        torch.manual_seed(0)
        return tiled_attention(q, k, v, layout, normalised=normalised, dropout=0.25)

    y = dropped(q, k, v)
    kept = y != 0
    assert abs(kept.double().mean() - 0.75) < 0.03
    torch.testing.assert_close(y[kept], whole[kept] / 0.75)
    torch.manual_seed(1)
    assert not torch.equal(tiled_attention(q, k, v, layout, normalised=normalised, dropout=0.25), y)
    layout = Layout.full(1, 5)
    few = tuple(x[:1, :1, :5, :5].detach().requires_grad_() for x in (q, k, v))
    with tile_size(1, 2):
        torch.autograd.gradcheck(dropped, few)


def test_half_precision_keeps_sums_in_more() -> None:
    layout = Layout.full(1, 600)
    q, k, v = (drawn(1, 1, 600, 8, seed=i).bfloat16().requires_grad_() for i in range(3))
    exact = [x.detach().double().requires_grad_() for x in (q, k, v)]
    shift = torch.full((1, 600), -6.4)
    results = []
    for leaves in ([q, k, v], exact):
        a, b, c = leaves
        y = tiled_attention(a, b, c, layout, query_bias=shift.to(a.dtype), normalised=False)
        results.append([y, *torch.autograd.grad(y.sum(), leaves)])
    assert results[0][0].dtype is torch.bfloat16
    for half, whole in zip(*results, strict=True):
        assert float((half.double() - whole).detach().norm() / whole.detach().norm()) < 0.02


def test_refuses_what_gets_no_gradient() -> None:
    q = torch.zeros(1, 1, 2, 4)
    with pytest.raises(ValueError, match="get no gradient"):
        tiled_attention(q, q, q, Layout.full(1, 2), bias=torch.zeros(1, 1, 2, 2, requires_grad=True))


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the matrix products that are made from here on."""
    sizes: list[int] = []
    product = torch.bmm

    def watched(a: Tensor, b: Tensor) -> Tensor:
        sizes.append(a.shape[0] * a.shape[1] * b.shape[2])
        return product(a, b)

    monkeypatch.setattr(torch, "bmm", watched)
    return sizes


def test_no_square_of_the_length_is_kept_or_made(products: list[int]) -> None:
    kept = []

    def pack(x: Tensor) -> Tensor:
        kept.append(x.numel())
        return x

    q = torch.zeros(2, 2, 300, 4, requires_grad=True)
    with tile_size(1, 4), torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        tiled_attention(q, q, q, Layout.full(2, 300)).sum().backward()
    assert len(products) > 300
    assert max(kept) == q.numel()
    assert max(products) == 4 * 300


def test_padding_at_the_end_costs_nothing(products: list[int]) -> None:
    """Each tile ends with the longest of its rows; here a tile holds one."""
    q = torch.zeros(2, 1, 300, 4)
    short = Layout.from_mask(torch.arange(300) < torch.tensor([[7], [0]]))
    with tile_size(2**17, 256):
        assert (tiled_attention(q, q, q + 1, short)[1] == 0).all()
    assert sum(products) == 7 * 7 + 7 * 4
