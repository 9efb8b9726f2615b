"""Delta rules in chunks against their plain forms and against transformers."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch.utils.flop_counter import FlopCounterMode

from ultra_blocks.functional.delta_rule import DeltaGates, delta_rule, delta_step
from ultra_blocks.reference import delta_rule as reference

HEADS, KEYS, VALUES = 2, 4, 6
DECAYS = ["none", "scalar", "channel"]


def draw(batch, length, decays, dtype=torch.float64, seed=0, strongest=2.0, largest=1.0, both=False):
    g = torch.Generator().manual_seed(seed)

    def normal(width):
        return torch.randn(batch, length, HEADS, width, generator=g, dtype=dtype)

    q, k, v = normal(KEYS), torch.nn.functional.normalize(normal(KEYS), dim=-1), normal(VALUES)
    beta = largest * torch.rand(batch, length, HEADS, generator=g, dtype=dtype)
    inputs = [q, k, v, beta]
    if decays != "none":
        shape = (batch, length, HEADS, KEYS)[: 3 if decays == "scalar" else 4]
        inputs.append(-strongest * torch.rand(shape, generator=g, dtype=dtype))
    if both:
        inputs += [x * torch.rand(x.shape, generator=g, dtype=dtype) for x in inputs[3:]]
    return [x.requires_grad_() for x in inputs]


def scan(q, k, v, *gates, both=False, **options):
    """Gates of one direction, or of both, one after the other."""
    each = len(gates) // 2 if both else len(gates)
    directions = [gates[:each], gates[each:]] if both else [gates]
    return delta_rule(q, k, v, *(DeltaGates(*gate) for gate in directions), **options)


def plain_both(q, k, v, *gates):
    """One direction, the mirror image of the other, the own term once."""
    each = len(gates) // 2
    ahead, back = gates[:each], gates[each:]
    y = plain(q, k, v, *ahead) + plain(*(x.flip(1) for x in (q, k, v, *back))).flip(1)
    return y - ((ahead[0] + back[0]) / 2 * (q * k).sum(-1))[..., None] * v


def plain(q, k, v, beta, log_decay=None):
    alpha = torch.ones_like(k)
    if log_decay is not None:
        alpha = (log_decay[..., None] if log_decay.ndim == 3 else log_decay).exp().expand_as(k)
    rows = [
        torch.stack(
            [reference.recurrent(*(x[b, :, h] for x in (q, k, v, beta, alpha))) for h in range(HEADS)], 1
        )
        for b in range(len(q))
    ]
    return torch.stack(rows)


def agree(ours, theirs, inputs, tolerance):
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(5), dtype=ours.dtype)
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()
    found = [torch.autograd.grad((y * weights).sum(), inputs) for y in (ours, theirs)]
    largest = max(x.abs().max() for x in found[1])
    for a, b in zip(*found, strict=True):
        assert (a - b).abs().max() <= tolerance * largest


@pytest.mark.parametrize("decays", DECAYS)
@given(length=st.integers(1, 23), chunk_size=st.sampled_from([1, 2, 3, 8, 64]), seed=st.integers(0, 99))
def test_is_the_recurrence(decays, length, chunk_size, seed):
    """Among others not the ancestor's, which multiplied the state with ``1 - b k k^T`` entry by entry."""
    inputs = draw(1, length, decays, seed=seed)
    agree(scan(*inputs, chunk_size=chunk_size), plain(*inputs), inputs, 1e-12)


@pytest.mark.parametrize("decays", DECAYS)
@given(length=st.integers(1, 23), chunk_size=st.sampled_from([1, 2, 8, 64]), seed=st.integers(0, 99))
def test_both_directions_are_two_recurrences(decays, length, chunk_size, seed):
    inputs = draw(1, length, decays, seed=seed, both=True)
    agree(scan(*inputs, both=True, chunk_size=chunk_size), plain_both(*inputs), inputs, 1e-12)


@pytest.mark.parametrize("decays", DECAYS)
def test_negative_eigenvalues(decays):
    inputs = draw(2, 21, decays, largest=2.0)
    agree(scan(*inputs, chunk_size=4), plain(*inputs), inputs, 1e-12)


@pytest.mark.parametrize("decays", DECAYS)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    chunk_size=st.sampled_from([1, 4, 64]),
    filled=st.integers(0, 3),
    both=st.booleans(),
)
def test_documents_start_empty(decays, lengths, chunk_size, filled, both):
    """Also with padding behind them, whose keys and values are 0 and whose gates say anything."""
    length = sum(lengths)
    inputs = draw(1, length + filled, decays, both=both)
    real = torch.arange(length + filled) < length
    q, k, v, *gates = inputs
    given = [x * real[:, None, None] for x in (q, k, v)] + gates
    documents = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    documents = torch.cat((documents, torch.full((filled,), -1)))[None]
    ours = scan(*given, both=both, chunk_size=chunk_size, documents=documents)[:, :length]
    parts = zip(*(x[:, :length].split(lengths, 1) for x in inputs), strict=True)
    theirs = torch.cat([(plain_both if both else plain)(*part) for part in parts], 1)
    agree(ours, theirs, inputs, 1e-12)


@pytest.mark.parametrize("decays", DECAYS)
def test_padding_behind_the_last_token_changes_nothing(decays):
    """The state of the other direction runs over it first."""
    inputs = draw(2, 13, decays, both=True)
    real = (torch.arange(13) < 7)[:, None, None]
    q, k, v, *gates = inputs
    masked = (q, torch.where(real, k, 0), torch.where(real, v, 0), *gates)
    ours = scan(*masked, both=True, chunk_size=4)[:, :7]
    agree(ours, plain_both(*(x[:, :7] for x in inputs)), inputs, 1e-12)


@pytest.mark.parametrize("decays", DECAYS)
def test_steps_are_the_same(decays):
    q, k, v, beta, *log_decay = draw(2, 11, decays)
    state, outputs = torch.zeros(2, HEADS, KEYS, VALUES, dtype=torch.float64), []
    for t in range(11):
        gates = DeltaGates(beta[:, t], *(x[:, t] for x in log_decay))
        y, state = delta_step(q[:, t], k[:, t], v[:, t], gates, state)
        outputs.append(y)
    assert (torch.stack(outputs, 1) - scan(q, k, v, beta, *log_decay, chunk_size=4)).abs().max() < 1e-13


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", ["chunk", "recurrent"])
def test_agrees_with_transformers_gated_delta_rule(form):
    from transformers.models.qwen3_next import modeling_qwen3_next as theirs

    function = getattr(theirs, f"torch_{form}_gated_delta_rule")
    inputs = draw(2, 150, "scalar", torch.float32, strongest=0.3)
    q, k, v, beta, log_decay = inputs
    ours = scan(*inputs) * KEYS**-0.5
    agree(ours, function(q, k, v, g=log_decay, beta=beta)[0], inputs, 1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", ["chunk", "recurrent"])
def test_agrees_with_transformers_kimi_delta_attention(form):
    from transformers.models.kimi_linear import modeling_kimi_linear as theirs

    function = getattr(theirs, f"{form}_kimi_delta_attention")
    inputs = draw(2, 70, "channel", torch.float32, strongest=0.3)
    q, k, v, beta, log_decay = inputs
    ours = scan(*inputs) * KEYS**-0.5
    found = function(q, k, v, g=log_decay, beta=beta, initial_state=None, output_final_state=False)
    agree(ours, found[0], inputs, 1e-5)


@pytest.mark.parametrize("decays", DECAYS)
def test_single_precision_over_long_rows(decays):
    exact = draw(1, 1024, decays, strongest=0.01)
    inputs = [x.detach().float().requires_grad_() for x in exact]
    ours, theirs = scan(*inputs), scan(*exact)
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()
    for a, b in zip(
        torch.autograd.grad(ours.sum(), inputs), torch.autograd.grad(theirs.sum(), exact), strict=True
    ):
        assert (a - b).abs().max() < 2e-5 * b.abs().max()


@pytest.mark.parametrize("decays", ["scalar", "channel"])
@pytest.mark.parametrize("strongest", [0.0, 1e3, 1e30])
def test_decays_of_any_strength(decays, strongest):
    inputs = draw(1, 40, decays, torch.float32, strongest=strongest)
    ours = scan(*inputs, chunk_size=8)
    found = [ours, *torch.autograd.grad(ours.square().sum(), inputs)]
    assert all(x.isfinite().all() for x in found)
    exact = scan(*(x.double() for x in inputs), chunk_size=8)
    assert (ours - exact).abs().max() < 1e-5 * exact.abs().max()


@pytest.mark.parametrize("decays", DECAYS)
def test_half_precision_is_computed_in_single(decays):
    inputs = draw(1, 70, decays, torch.float32)
    half = [x.detach().bfloat16() for x in inputs[:3]]
    with torch.autocast("cpu", torch.bfloat16):
        ours = scan(*half, *inputs[3:])
    assert torch.equal(ours, scan(*(x.float() for x in half), *inputs[3:]))


@pytest.mark.parametrize("decays", DECAYS)
def test_time_and_memory_are_linear_in_the_length(decays):
    """Multiply-adds of forward and backward, and what is kept in between."""
    costs = []
    for length in (256, 512):
        inputs, kept = draw(1, length, decays, torch.float32, both=True), {}

        def keep(x, kept=kept):
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with (
            FlopCounterMode(display=False) as counter,
            torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x),
        ):
            scan(*inputs, both=True).sum().backward()
        costs.append((counter.get_total_flops(), sum(kept.values())))
    (flops, size), (more_flops, more) = costs
    assert flops > 0
    assert more_flops < 2.05 * flops * 256 / 248  # the first chunk has no state to read
    assert more < 2.05 * size
