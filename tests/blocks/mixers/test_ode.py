"""The block against textbook steps over reference attention, and its order of convergence."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from support.references import by_the_reference
from ultra_blocks.config import UltraConfig
from ultra_blocks.encoder import Encoder
from ultra_blocks.functional.ode_solvers import TABLEAUS
from ultra_blocks.layout import Layout
from ultra_blocks.linear import BitLinear
from ultra_blocks.mixers.ode import ODE
from ultra_blocks.mixers.standard_attn import StandardAttention
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.reference.ode import solve
from ultra_blocks.testing import block_cases, pytest_params
from ultra_core.plugins.signatures import read_options

WIDTH, HEADS = 12, 2
SOLVERS = sorted(TABLEAUS)


def build(scale=0.5, seed=0, **options):
    block = ODE(WIDTH, **{"num_heads": HEADS, **options}).double()
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in block.parameters():
            p.copy_(scale * torch.randn(p.shape, generator=g, dtype=p.dtype) + (p.ndim == 1))
    return block.eval()


def inputs(batch=2, length=7, seed=1):
    return torch.randn(
        batch, length, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


@given(
    st.sampled_from(SOLVERS),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 0.5]),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_equals_the_reference_forward_and_backward(
    solver, steps, causal, recomputed, qk_norm, cap, length, seed
):
    g = torch.Generator().manual_seed(seed)
    options = {"solver": solver, "steps": steps, "checkpoint": recomputed, "qk_norm": qk_norm, "softcap": cap}
    block = build(causal=causal, **options)
    mask = torch.rand(2, length, generator=g) < 0.7
    documents = (torch.rand(2, length, generator=g) < 0.3).cumsum(1)
    layout = Layout.from_mask(mask, documents)
    x = inputs(2, length, seed).requires_grad_()
    y, wanted = block(x, layout), by_the_reference(block, x, layout, num_heads=HEADS, **options)
    torch.testing.assert_close(y, wanted, rtol=1e-10, atol=1e-10)
    noise = torch.randn(y.shape, generator=g, dtype=y.dtype)
    leaves = [x, *block.parameters()]
    ours = torch.autograd.grad(y, leaves, noise)
    theirs = torch.autograd.grad(wanted, leaves, noise, materialize_grads=True)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_errors_shrink_as_the_order_says(solver):
    x = inputs()
    exact = build(scale=0.3, solver="rk4", steps=256)(x)
    order = TABLEAUS[solver].order
    steps = 4 if order == 4 else 16
    coarse, fine = (
        (build(scale=0.3, solver=solver, steps=n)(x) - exact).norm().item() for n in (steps, 2 * steps)
    )
    assert coarse / fine == pytest.approx(2**order, rel=0.2)
    assert {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}[solver] == order


@pytest.mark.parametrize("causal", [False, True])
def test_one_step_of_euler_is_an_attention_branch(causal):
    block, x = build(solver="euler", steps=1, causal=causal), inputs()
    alone = StandardAttention(WIDTH, num_heads=HEADS, causal=causal).double()
    alone.load_state_dict(block.attention.state_dict())
    assert torch.equal(block(x), alone(block.norm(x)))


def test_dropout_is_drawn_once_a_solve():
    """A channel that is held still at the first evaluation never moves; the others are scaled up."""
    block, x = build(dropout=0.5, steps=3).train(), inputs(4, 9)
    torch.manual_seed(0)
    y = block(x)
    still = y == 0
    assert 0.4 < still.double().mean() < 0.6
    torch.manual_seed(0)
    held = torch.nn.functional.dropout(torch.ones_like(x), 0.5)
    assert torch.equal(still, held == 0)

    def field(z):
        return held * block.attention(block.norm(z))

    torch.testing.assert_close(y, solve(field, x, "rk4", 3), rtol=0, atol=1e-12)
    assert not torch.equal(block(x), y)
    assert torch.equal(block.eval()(x), block(x))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_recomputing_gives_the_same_gradients(dropout):
    found = []
    for recomputed in (False, True):
        torch.manual_seed(0)
        block, x = build(checkpoint=recomputed, dropout=dropout).train(), inputs().requires_grad_()
        torch.manual_seed(1)
        y = block(x)
        found.append([y, *torch.autograd.grad(y.square().sum(), [x, *block.parameters()])])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_recomputing_keeps_less():
    sizes = []
    for recomputed in (False, True):
        kept = []
        block = build(checkpoint=recomputed)

        def keep(t, kept=kept):
            kept.append(t.numel())
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            block(inputs(1, 33))
        sizes.append(sum(kept))
    assert sizes[1] < sizes[0] / 3


def test_small_moves_of_a_large_stream_keep_their_digits():
    block = build(scale=1e-3)
    with torch.no_grad():
        block.norm.weight.fill_(1.0)
    x = 1e3 * inputs()
    exact, single = block(x), block.float()(x.float())
    assert exact.abs().max() < 1e-3
    assert (single - exact).norm() < 1e-4 * exact.norm()


class ZeroFFN(torch.nn.Module):
    def forward(self, x, layout):
        return torch.zeros_like(x)


class TestInAModel:
    @staticmethod
    def config(**fields):
        sizes = {"vocab_size": 9, "hidden_size": 12, "num_layers": 1, "num_heads": 2, "use_moe": False}
        return UltraConfig(**sizes, layer_pattern=["ode"], **fields)

    def test_fields_reach_it(self):
        fields = {"ode_solver": "heun", "ode_steps": 3, "norm_type": "rms_norm", "use_bitnet": True}
        block = Encoder(self.config(**fields, dropout=0.2)).layers[0].mixer
        assert (block.solver, block.steps, block.dropout) == ("heun", 3, 0.2)
        assert isinstance(block.norm, RMSNorm)
        assert isinstance(block.attention.qkv_proj, BitLinear)
        assert block.attention.positions.kind == "rotate"

    def test_it_gets_the_stream_itself(self):
        encoder = Encoder(self.config(dropout=0.0)).eval()
        layer, x, seen = encoder.layers[0], torch.randn(1, 3, 12), []
        layer.mixer.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
        layer(x, Layout.full(1, 3))
        assert seen[0] is x

    def test_a_field_of_zero_leaves_the_stream_as_it_is(self):
        """The layer adds how far the stream moved: neither the stream again nor its norm."""
        layer, x = Encoder(self.config(dropout=0.0)).layers[0], torch.randn(1, 3, 12)
        layer.ffn = ZeroFFN()
        assert not torch.equal(layer(x, Layout.full(1, 3))[0], x)
        torch.nn.init.zeros_(layer.mixer.attention.out_proj.weight)
        assert torch.equal(layer(x, Layout.full(1, 3))[0], x)

    def test_first_weights_are_smaller_by_the_evaluations_of_a_step(self):
        torch.manual_seed(0)
        config = self.config(ode_solver="rk4", initializer_range=0.1)
        stds = [Encoder(config).layers[0].mixer.attention.out_proj.weight.std() for _ in range(20)]
        assert torch.stack(stds).mean().item() == pytest.approx(0.1 / math.sqrt(2) / 4, rel=0.05)


def test_parameters():
    block = build()
    info = block.attention.parameter_info()
    assert {i.role for i in info.values()} == {"ode"}
    assert info["qkv_proj.weight"].row_blocks == (WIDTH,) * 3
    assert {name: tuple(p.shape) for name, p in block.named_parameters()} == {
        "norm.weight": (12,),
        "norm.bias": (12,),
        "attention.qkv_proj.weight": (36, 12),
        "attention.out_proj.weight": (12, 12),
    }


def test_options():
    options = read_options(ODE)
    taken = {name: option.from_model for name, option in options.items() if option.from_model}
    assert taken == {
        "num_heads": "num_heads",
        "positions": "positions",
        "solver": "ode_solver",
        "steps": "ode_steps",
        "dropout": "dropout",
        "linear": "linear",
        "norm": "norm",
    }
    assert not options["norm"].settable


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "dopri5"}, "solver must be one of rk4, euler, midpoint, heun; given 'dopri5'"),
        ({"steps": 0}, "steps must be 1 or more; given 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"num_heads": 5}, "num_heads=5 does not divide"),
    ],
)
def test_wrong_options_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


RECOMPUTED = block_cases([ODE], options={"solver": "heun", "checkpoint": True})


BOUNDED = block_cases([ODE], options={"qk_norm": True, "softcap": 0.5})


@pytest.mark.parametrize(("case", "rule"), pytest_params(BOUNDED, ["B1", "B3", "B5", "B7", "B16"]))
def test_conformance_with_bounded_scores(case, rule):
    rule(case)


def test_a_cap_must_be_above_0():
    with pytest.raises(ValueError, match="ODE: softcap must be above 0"):
        build(softcap=0.0)


@pytest.mark.parametrize(("case", "rule"), pytest_params(RECOMPUTED, ["B1", "B3", "B7", "B13", "B16"]))
def test_conformance_recomputing(case, rule):
    rule(case)
