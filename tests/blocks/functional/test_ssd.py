"""State space duality in chunks against its plain forms and against transformers."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch.utils.flop_counter import FlopCounterMode

from ultra_blocks.functional.ssd import Scan, log_softplus, ssd
from ultra_blocks.reference import ssd as reference

HEADS, GROUPS, P, STATE = 4, 2, 3, 5


def draw(batch, length, dtype=torch.float64, seed=0):
    """x, and for each of two directions B, C, dt; A."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=g, dtype=dtype).requires_grad_()

    x = normal(batch, length, HEADS, P)
    sets = [(normal(batch, length, GROUPS, STATE), normal(batch, length, GROUPS, STATE)) for _ in range(2)]
    raws = [normal(batch, length, HEADS) for _ in range(2)]
    A = (-torch.rand(HEADS, generator=g, dtype=dtype) * 2).requires_grad_()
    return x, sets, raws, A


def scans(sets, raws, A):
    steps = [torch.nn.functional.softplus(raw) for raw in raws]
    return [
        Scan(C, B, step * A, log_softplus(raw)) for (B, C), raw, step in zip(sets, raws, steps, strict=True)
    ]


def plain(x, sets, raws, A, form):
    """The plain forms, head by head."""
    dts = [torch.nn.functional.softplus(raw) for raw in raws]
    rows = []
    for b in range(x.shape[0]):
        heads = []
        for h in range(HEADS):
            X, dt = x[b, :, h], [d[b, :, h] for d in dts]
            (B, C), (B2, C2) = ((B[b, :, h // 2], C[b, :, h // 2]) for B, C in sets)
            if form == "causal":
                y = reference.recurrent(X, dt[0], A[h], B, C)
            elif form == "sum":
                y = reference.both(X, dt, A[h], B, C)
            else:
                y = reference.hydra(X, dt, A[h], (B, B2), (C, C2))
            heads.append(y)
        rows.append(torch.stack(heads, 1))
    return torch.stack(rows)


def chunked(x, sets, raws, A, form, chunk_size, documents=None):
    """What tokens read of others, and their own term where the form has one."""
    if form == "sum":
        sets = [sets[0], sets[0]]
    forward, backward = scans(sets, raws, A)
    y = ssd(
        x,
        forward,
        None if form == "causal" else backward,
        shifted=form == "hydra",
        chunk_size=chunk_size,
        documents=documents,
    )
    if form == "hydra":
        return y
    steps = [torch.nn.functional.softplus(raw) for raw in raws[: 1 if form == "causal" else 2]]
    (B, C), dt = sets[0], sum(steps) / len(steps)
    return y + (dt * (B * C).sum(-1).repeat_interleave(HEADS // GROUPS, -1))[..., None] * x


def agree(ours, theirs, inputs, tolerance):
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(5), dtype=ours.dtype)
    results = [
        (y, *torch.autograd.grad((y * weights).sum(), inputs, materialize_grads=True)) for y in (ours, theirs)
    ]
    largest = max(g.abs().max() for g in results[1][1:])
    for i, (a, b) in enumerate(zip(*results, strict=True)):
        assert (a - b).abs().max() <= tolerance * (b.abs().max() if i == 0 else largest) + 1e-300


def leaves(x, sets, raws, A):
    return [x, *(y for pair in sets for y in pair), *raws, A]


@pytest.mark.parametrize("form", ["causal", "hydra", "sum"])
@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 16, 17, 37])
@pytest.mark.parametrize("chunk_size", [1, 4, 64])
def test_chunked_is_recurrent(length, chunk_size, form):
    drawn = draw(1, length)
    agree(chunked(*drawn, form, chunk_size), plain(*drawn, form), leaves(*drawn), 1e-12)


@pytest.mark.parametrize("form", ["causal", "hydra", "sum"])
def test_chunked_is_recurrent_in_fp32(form):
    drawn = draw(2, 67, torch.float32)
    agree(chunked(*drawn, form, 8), plain(*drawn, form), leaves(*drawn), 2e-5)


@pytest.mark.parametrize("length", [1, 4, 23])
def test_plain_forms_agree(length):
    x, sets, raws, A = draw(1, length)
    X, dt, (B, C) = x[0, :, 0], raws[0][0, :, 0].exp(), (y[0, :, 0] for y in sets[0])
    dual, recurrent = (f(X, dt, A[0], B, C) for f in (reference.dual, reference.recurrent))
    assert (dual - recurrent).abs().max() < 1e-12


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    padding=st.integers(0, 7),
    form=st.sampled_from(["causal", "hydra", "sum"]),
    chunk_size=st.sampled_from([1, 3, 8]),
)
def test_documents_are_strangers(lengths, padding, form, chunk_size):
    x, sets, raws, A = draw(1, sum(lengths))
    parts = [y.split(lengths, 1) for y in leaves(x, sets, raws, A)[:-1]]
    alone = [
        plain(x_, [(b, c), (b2, c2)], [raw, raw2], A, form)
        for x_, b, c, b2, c2, raw, raw2 in zip(*parts, strict=True)
    ]
    ids = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    documents = torch.nn.functional.pad(ids, (0, padding), value=-1)[None]

    def filled(y):
        return torch.nn.functional.pad(y, (0, 0) * (y.ndim - 2) + (0, padding))

    wide = filled(x), [tuple(map(filled, pair)) for pair in sets], [filled(raw) for raw in raws]
    ours = chunked(*wide, A, form, chunk_size, documents)
    agree(ours[:, : sum(lengths)], torch.cat(alone, 1), leaves(x, sets, raws, A), 1e-12)


@pytest.mark.parametrize("chunk_size", [4, 16])
def test_agrees_with_transformers(chunk_size):
    from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan

    x, sets, raws, A = draw(2, 37, torch.float32)
    (B, C), raw = sets[0], raws[0]
    theirs = mamba2_chunk_scan(x, raw, A, B, C, chunk_size=8, dt_softplus=True)
    ours = chunked(x, sets, raws, A, "causal", chunk_size)
    agree(ours, theirs, leaves(x, sets, raws, A), 1e-5)


def test_second_derivatives():
    x, sets, raws, A = draw(1, 5)

    def read(*given):
        x, B, C, B2, C2, raw, raw2, A = given
        return chunked(x, [(B, C), (B2, C2)], [raw, raw2], A, "hydra", 2)

    assert torch.autograd.gradgradcheck(read, leaves(x, sets, raws, A), fast_mode=True)


def test_long_rows_in_fp32():
    x, sets, raws, A = draw(1, 2048)
    exact = chunked(x, sets, raws, A, "hydra", 64)
    narrow = x.float(), [tuple(y.float() for y in s) for s in sets], [r.float() for r in raws], A.float()
    y = chunked(*narrow, "hydra", 64)
    assert (y - exact).norm() / exact.norm() < 1e-5


def test_slow_decay_after_a_steep_one_keeps_its_digits():
    """A decay of e^-10^6 in the middle of a chunk; behind it, weights near 1 to 1e-4."""
    x, sets, raws, A = draw(1, 64, torch.float32)
    forward, _ = scans(sets, raws, A)
    decay = torch.full_like(forward.log_decay, -1e-3)
    decay[:, 20] = -1e6
    results = []
    for dtype in (torch.float32, torch.float64):
        scan = Scan(*(y.to(dtype) for y in forward._replace(log_decay=decay)))
        results.append(ssd(x.to(dtype), scan, chunk_size=32))
    assert (results[0] - results[1]).abs().max() < 1e-4 * results[1].abs().max()


@pytest.mark.parametrize("form", ["causal", "hydra", "sum"])
@pytest.mark.parametrize("level", [-200.0, -90.0, 0.0, 50.0, 1e4])
def test_extreme_steps_stay_finite(form, level):
    """dt from underflow to 10^4: states that never change, states that are forgotten at once."""
    x, sets, raws, A = draw(1, 40, torch.float32)
    drawn = x, sets, [raw + level for raw in raws], A
    y = chunked(*drawn, form, 8)
    gradients = torch.autograd.grad(
        y.sum(), leaves(x, sets, raws, A), allow_unused=True, materialize_grads=True
    )
    assert y.isfinite().all()
    assert all(g.isfinite().all() for g in gradients)


def test_log_softplus():
    x = torch.tensor([-300.0, -41, -40, -39, -1, 0, 5, 50], dtype=torch.float64, requires_grad=True)
    exact = torch.tensor([math.log(math.log1p(math.exp(v))) if v > -36 else v for v in x.tolist()])
    assert (log_softplus(x) - exact).abs().max() < 1e-7
    (gradient,) = torch.autograd.grad(log_softplus(x).sum(), x)
    assert ((gradient > 0) & (gradient <= 1)).all()


@pytest.mark.parametrize("form", ["causal", "hydra"])
def test_cost_is_linear_in_the_length(form):
    flops = []
    for length in (1024, 2048):
        drawn = draw(1, length, torch.float32)
        with FlopCounterMode(display=False) as counter:
            chunked(*drawn, form, 8).sum().backward()
        flops.append(counter.get_total_flops())
    assert flops[1] <= 2.05 * flops[0]
