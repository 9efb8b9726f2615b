"""Chunks: cutting time, and carrying states between chunks, against a loop."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ultra_blocks.functional.chunks import GROUP, from_chunks, inter_chunk_scan, split_length, to_chunks


def carried_by_loop(states, log_spans, reverse):
    if reverse:
        return carried_by_loop(states.flip(-2), log_spans.flip(-1), False).flip(-2)
    state, before = 0 * states[..., 0, :], []
    for c in range(states.shape[-2]):
        before.append(state)
        state = log_spans[..., c, None].exp() * state + states[..., c, :]
    return torch.stack(before, -2)


@pytest.mark.parametrize("chunks", [1, 2, GROUP - 1, GROUP, GROUP + 1, 3 * GROUP, GROUP**2 + 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_carry_is_the_recurrence(chunks, reverse):
    torch.manual_seed(0)
    states = torch.randn(2, 3, chunks, 4, dtype=torch.float64, requires_grad=True)
    log_spans = (-torch.rand(2, 3, chunks, dtype=torch.float64)).requires_grad_()
    weights = torch.randn(2, 3, chunks, 4, dtype=torch.float64)
    results = []
    for function in (
        lambda: inter_chunk_scan(states, log_spans, reverse=reverse),
        lambda: carried_by_loop(states, log_spans, reverse),
    ):
        y = function()
        inputs = (states, log_spans)
        results.append((y, *torch.autograd.grad((y * weights).sum(), inputs, materialize_grads=True)))
    for ours, plain in zip(*results, strict=True):
        assert (ours - plain).abs().max() <= 1e-12 * (1 + plain.abs().max())


@pytest.mark.parametrize("chunks", [5, 2 * GROUP + 3])
@pytest.mark.parametrize("reverse", [False, True])
def test_nothing_passes_a_cut_and_gradients_stay_finite(chunks, reverse):
    torch.manual_seed(1)
    states = torch.randn(1, chunks, 3, dtype=torch.float64)
    raw = torch.full((1, chunks), -0.1, dtype=torch.float64, requires_grad=True)
    cut = torch.rand(1, chunks) < 0.3
    log_spans = raw.masked_fill(cut, float("-inf"))
    y = inter_chunk_scan(states, log_spans, reverse=reverse)
    assert torch.allclose(y, carried_by_loop(states, log_spans.detach(), reverse), rtol=0, atol=1e-13)
    (gradient,) = torch.autograd.grad(y.square().sum(), raw)
    assert gradient.isfinite().all()
    assert (gradient[cut] == 0).all()


def test_near_chunks_stay_precise_after_a_steep_decay():
    """Differences of cumulative sums would lose the small spans behind the large one."""
    log_spans = torch.full((24,), -1e-3)
    log_spans[3] = -1e6
    states = torch.ones(24, 1)
    exact = carried_by_loop(states.double(), log_spans.double(), False)
    assert (inter_chunk_scan(states, log_spans).double() - exact).abs().max() < 1e-5


def test_cost_of_carrying_is_linear():
    flops = []
    for chunks in (8 * GROUP, 16 * GROUP):
        with FlopCounterMode(display=False) as counter:
            inter_chunk_scan(torch.zeros(1, chunks, 256), torch.zeros(1, chunks))
        flops.append(counter.get_total_flops())
    assert flops[1] < 2.1 * flops[0]


@pytest.mark.parametrize(
    ("length", "chunk_size"), [(1, 1), (1, 8), (16, 8), (17, 8), (23, 8), (7, 1), (300, 128)]
)
def test_chunks_cover_the_length_with_little_to_fill_up(length, chunk_size):
    chunks, size = split_length(length, chunk_size)
    assert length <= chunks * size < length + chunks
    assert size <= (2 * chunk_size if chunks == 1 else chunk_size)
    x = torch.randn(2, length, 3, 5)
    cut = to_chunks(x, chunks, size)
    assert cut.shape == (2, 3, chunks, size, 5)
    assert cut.is_contiguous()
    assert torch.equal(from_chunks(cut, length), x)
    assert cut.flatten(2, 3)[:, :, length:].eq(0).all()
