"""Retention in chunks against its plain forms: lengths, chunk sizes, packings, padding, precision."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch.utils.flop_counter import FlopCounterMode

from ultra_blocks.functional.retention import (
    chunk_decays,
    log_decays,
    retention,
    rotate,
    rotation_table,
)
from ultra_blocks.layout import Layout
from ultra_blocks.reference import retention as reference

HEADS, D_K, D_V = 2, 4, 6


def chunked(q, k, v, *, causal, chunk_size, layout=None, gammas=None):
    decays = chunk_decays(
        gammas or log_decays(q.shape[2]),
        q.shape[1],
        chunk_size,
        causal=causal,
        dtype=torch.promote_types(q.dtype, torch.float32),
        device=q.device,
        documents=None if layout is None else layout.documents,
        positions=None if layout is None else layout.positions,
    )
    return retention(q, k, v, decays, causal=causal)


def plain(q, k, v, *, causal, layout=None, gammas=None):
    rows = []
    for b in range(q.shape[0]):
        length = q.shape[1]
        p = torch.arange(length) if layout is None else layout.positions[b]
        document = torch.zeros(length) if layout is None else layout.documents[b]
        heads = [
            reference.parallel(q[b, :, h], k[b, :, h], v[b, :, h], math.exp(log_gamma), p, document, causal)
            for h, log_gamma in enumerate(gammas or log_decays(q.shape[2]))
        ]
        rows.append(torch.stack(heads, 1))
    return torch.stack(rows)


def draw(batch, length, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, length, HEADS, width) for width in (D_K, D_K, D_V, D_V)]
    return [torch.randn(s, dtype=dtype, generator=generator) for s in shapes]


def agree(ours, theirs, inputs, weights, tolerance):
    """The values and the gradient of every input, each relative to the largest entry."""
    inputs = list(inputs)
    ours, theirs = (
        (y, *torch.autograd.grad((y * weights).sum(), inputs, retain_graph=True)) for y in (ours, theirs)
    )
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= tolerance * (b.abs().max() + 1e-30)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 16, 17, 31, 67])
@pytest.mark.parametrize("chunk_size", [1, 3, 8, 64])
def test_chunked_is_parallel(length, chunk_size, causal):
    q, k, v, weights = draw(2, length)
    inputs = [x.requires_grad_() for x in (q, k, v)]
    ours = chunked(q, k, v, causal=causal, chunk_size=chunk_size)
    agree(ours, plain(q, k, v, causal=causal), inputs, weights, 1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_chunked_is_parallel_in_fp32(causal):
    q, k, v, weights = draw(2, 131, torch.float32)
    inputs = [x.requires_grad_() for x in (q, k, v)]
    ours = chunked(q, k, v, causal=causal, chunk_size=16)
    agree(ours, plain(q, k, v, causal=causal), inputs, weights, 1e-5)


@pytest.mark.parametrize("length", [1, 5, 40])
def test_plain_forms_agree(length):
    """Parallel = recurrent; symmetric = causal + anti-causal - diagonal."""
    q, k, v, _ = (x[0, :, 0] for x in draw(1, length))
    p, document = torch.arange(length), torch.zeros(length)
    causal = reference.parallel(q, k, v, 0.97, p, document, causal=True)
    both = reference.parallel(q, k, v, 0.97, p, document, causal=False)
    assert (causal - reference.recurrent(q, k, v, 0.97)).abs().max() < 1e-12
    assert (both - reference.bidirectional(q, k, v, 0.97)).abs().max() < 1e-12


@st.composite
def layouts(draw_):
    """Rows of several documents, padding anywhere, maybe rows of padding alone."""
    batch, length = draw_(st.integers(1, 3)), draw_(st.integers(1, 40))
    row = st.lists(st.booleans(), min_size=length, max_size=length)
    mask = torch.tensor(draw_(st.lists(row, min_size=batch, max_size=batch)))
    steps = st.lists(st.sampled_from([0, 0, 0, 1]), min_size=length, max_size=length)
    documents = torch.tensor(draw_(st.lists(steps, min_size=batch, max_size=batch))).cumsum(1)
    return Layout.from_mask(mask, documents)


@given(layout=layouts(), causal=st.booleans(), chunk_size=st.sampled_from([1, 3, 8]), seed=st.integers(0, 9))
def test_documents_and_padding(layout, causal, chunk_size, seed):
    q, k, v, weights = draw(*layout.mask.shape, seed=seed)
    inputs = [q.requires_grad_(), k.requires_grad_(), v.requires_grad_()]
    k_, v_ = layout.zero_padding(k), layout.zero_padding(v)
    ours = chunked(q, k_, v_, causal=causal, chunk_size=chunk_size, layout=layout)
    theirs = plain(q, k_, v_, causal=causal, layout=layout)
    agree(layout.zero_padding(ours), layout.zero_padding(theirs), inputs, weights, 1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_positions_with_gaps_are_what_decays_count(causal):
    mask = torch.ones(1, 20, dtype=torch.bool)
    mask[0, 6:9] = False
    positions = torch.cat((torch.arange(10) * 3, torch.arange(10) + 1000))[None]
    layout = Layout.from_mask(mask, positions=positions)
    q, k, v, _ = draw(1, 20)
    k, v = layout.zero_padding(k), layout.zero_padding(v)
    ours = chunked(q, k, v, causal=causal, chunk_size=3, layout=layout)
    theirs = plain(q, k, v, causal=causal, layout=layout)
    assert (layout.zero_padding(ours) - layout.zero_padding(theirs)).abs().max() < 1e-12


def test_the_slowest_decay_does_not_cross_a_border():
    """gamma = 1 - 2^-36 for the 32nd head: no gap of positions could stand for a border."""
    layout = Layout.from_mask(torch.ones(1, 12, dtype=torch.bool), (torch.arange(12) // 6)[None])
    q, k, v, _ = draw(1, 12)
    v[:, 6:] = 0
    y = chunked(q, k, v, causal=False, chunk_size=3, layout=layout, gammas=log_decays(32)[-2:])
    assert (y[:, 6:] == 0).all()
    assert (y[:, :6] != 0).all()


@pytest.mark.parametrize("causal", [False, True])
def test_long_rows_in_fp32(causal):
    """T = 4096 with the slowest decay of eight heads: as good as a sum of 4096 products can be."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 4096, 1, d, dtype=torch.float64) for d in (16, 16, 16))
    gammas = log_decays(8)[-1:]
    exact = chunked(q, k, v, causal=causal, chunk_size=128, gammas=gammas)
    y = chunked(q.float(), k.float(), v.float(), causal=causal, chunk_size=128, gammas=gammas)
    assert (y - exact).norm() / exact.norm() < 1e-6


def test_bf16_inputs_keep_states_in_fp32():
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 512, 2, 64, dtype=torch.float64).bfloat16() for _ in range(3))
    y = chunked(q, k, v, causal=True, chunk_size=16)
    assert y.dtype == torch.float32
    exact = chunked(q.double(), k.double(), v.double(), causal=True, chunk_size=16)
    assert (y - exact).norm() / exact.norm() < 1e-2  # a bf16 state gives more than 1e-1


def test_fp16_does_not_overflow():
    q, k, v = (torch.full((1, 300, 1, 8), 200.0, dtype=torch.float16) for _ in range(3))
    y = chunked(q, k, v, causal=False, chunk_size=32)
    assert y.isfinite().all()


@pytest.mark.parametrize("causal", [False, True])
def test_cost_is_linear_in_the_length(causal):
    flops = []
    for length in (2048, 4096):
        q, k, v = (torch.zeros(1, length, 2, d, requires_grad=True) for d in (8, 8, 16))
        with FlopCounterMode(display=False) as counter:
            chunked(q, k, v, causal=causal, chunk_size=16).sum().backward()
        flops.append(counter.get_total_flops())
    assert flops[1] <= 2.05 * flops[0]


def test_gammas():
    assert [math.exp(x) for x in log_decays(3)] == pytest.approx(
        [1 - 1 / 32, 1 - 1 / 64, 1 - 1 / 128], rel=1e-15
    )
    assert [1 - math.exp(x) for x in log_decays(5, "linspace")] == pytest.approx(
        [1 / 32, 1 / 64, 1 / 128, 1 / 256, 1 / 512], rel=1e-12
    )
    assert math.exp(log_decays(1, "linspace")[0]) == pytest.approx(1 - 1 / 32)


@pytest.mark.parametrize("grid", ["torchscale", "rope"])
@pytest.mark.parametrize("key_dim", [2, 4, 16])
def test_rotation(grid, key_dim):
    x = torch.randn(2, 9, 3, key_dim, dtype=torch.float64)
    p = torch.arange(9)
    half = key_dim // 2
    exponents = torch.arange(half, dtype=torch.float64) / half
    if grid == "torchscale":
        exponents = torch.linspace(0, 1, half, dtype=torch.float64)
    turned = rotate(x, rotation_table(p[None], key_dim, grid, torch.float64))
    for b in range(2):
        for h in range(3):
            theirs = reference.rotate(x[b, :, h], p, exponents)
            assert (turned[b, :, h] - theirs).abs().max() < 1e-12
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1))


def test_both_ways_to_rotate_agree(monkeypatch):
    """Compilers and accelerators get real arithmetic; eager CPUs one complex product."""
    x = torch.randn(2, 9, 3, 8, dtype=torch.float64, requires_grad=True)
    table = rotation_table(torch.arange(9)[None], 8, "torchscale", torch.float64)
    eager = rotate(x, table)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert torch.allclose(rotate(x, table), eager, rtol=0, atol=1e-15)


def test_scores_depend_on_differences_of_positions_far_out():
    """Angles are exact enough at position 10^4 that fp32 scores do not move by 1e-5."""
    q, k = torch.randn(2, 1, 30, 1, 32)
    scores = []
    for shift in (0, 10_000):
        table = rotation_table(torch.arange(30)[None] + shift, 32, "torchscale", torch.float32)
        scores.append(rotate(q, table)[0, :, 0] @ rotate(k, table)[0, :, 0].T)
    assert (scores[0] - scores[1]).abs().max() < 1e-5
