"""Mamba: the block against transformers and plain forms; what the kit does not know."""

import pytest
import torch
import torch.nn.functional as F

from support.padding import check_padding
from support.references import by_the_reference
from support.tensors import normal
from ultra_blocks.mixers.mamba import Mamba
from ultra_blocks.testing import block_cases, pytest_params
from ultra_core.plugins.signatures import check_options

WIDTH = 8

SIZES = {"head_size": 4, "state_size": 6, "chunk_size": 4}

FORMS = [{"causal": True}, {}, {"bidirectional_form": "sum"}]


def build(**options):
    torch.manual_seed(0)
    return Mamba(WIDTH, **{**SIZES, **options}).double()


def inputs(batch=2, length=21):
    return normal((batch, length, WIDTH), seed=1)


@pytest.mark.parametrize("options", FORMS)
@pytest.mark.parametrize("more", [{}, {"num_groups": 2}, {"dt_limit": (0.01, 0.1)}])
@pytest.mark.parametrize("norm_before_gate", [True, False])
def test_is_what_the_papers_say(options, more, norm_before_gate):
    options = {**options, **more, "norm_before_gate": norm_before_gate}
    block, x = build(**options), inputs(1)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    x = x.requires_grad_()
    targets = (x, *block.parameters())
    weights = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ours, theirs = block(x), by_the_reference(block, x, **SIZES, **options)
    assert (ours - theirs).abs().max() < 1e-12 * theirs.abs().max()
    for a, b in zip(
        torch.autograd.grad((ours * weights).sum(), targets),
        torch.autograd.grad((theirs * weights).sum(), targets),
        strict=True,
    ):
        assert (a - b).abs().max() < 1e-10 * (b.abs().max() + 1e-3)


def test_loads_weights_of_transformers():
    """The causal block is the Mamba2 mixer of transformers, parameter for parameter."""
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Config, Mamba2Mixer

    config = Mamba2Config(
        hidden_size=16,
        expand=2,
        head_dim=8,
        num_heads=4,
        state_size=6,
        n_groups=2,
        conv_kernel=4,
        chunk_size=8,
    )
    torch.manual_seed(0)
    theirs = Mamba2Mixer(config, layer_idx=0).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    ours = Mamba(16, causal=True, head_size=8, state_size=6, num_groups=2, chunk_size=8)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 37, 16)
    assert (ours(x) - theirs(x)).abs().max() < 1e-4 * theirs(x).abs().max()


@pytest.mark.parametrize("length", [1, 2, 4, 5, 21])
@pytest.mark.parametrize("options", [{}, {"num_groups": 2}, {"conv_kernel": 1}])
def test_steps_are_the_causal_form(length, options):
    block, x = build(causal=True, **options), inputs(length=length)
    state, outputs = block.init_state(2), []
    for x_t in x.unbind(1):
        y, state = block.step(x_t, state)
        outputs.append(y)
    assert (torch.stack(outputs, 1) - block(x)).abs().max() < 1e-13
    assert state.memory.shape == (2, 4, 6, 4)


def test_no_steps_without_causal():
    with pytest.raises(ValueError, match="causal=True"):
        build().init_state(1)


@pytest.mark.parametrize("options", FORMS)
@pytest.mark.parametrize("holes", [[0, 1, 2], [20, 19], [3, 4, 5, 11, 12], [0, 7, 8, 9, 10, 11, 12, 13, 20]])
def test_padding_anywhere_leaves_what_the_tokens_alone_give(options, holes):
    block, x = build(**options), inputs(batch=1)
    check_padding(block, x, holes)


KIT = ["B1", "B1b", "B3", "B5", "B7", "B16"]
CASES = [
    *block_cases([Mamba], options={"chunk_size": 3, "num_groups": 2, "head_size": 4}),
    *list(block_cases([Mamba], options={"chunk_size": 3, "bidirectional_form": "sum"}))[:1],
]


@pytest.mark.parametrize(("case", "rule"), pytest_params(CASES, KIT))
def test_rules_hold_across_chunks_and_for_other_forms(case, rule):
    """The kit's own rows fit one chunk of the default size."""
    rule(case)


@pytest.mark.parametrize("options", FORMS)
def test_half_precision_keeps_decays_and_steps(options):
    block = build(**options).float()
    before = block.A_log.detach().clone(), block.dt_bias.detach().clone()
    block.bfloat16()
    assert {p.dtype for n, p in block.named_parameters() if "." not in n} == {torch.float32}
    assert block.in_proj.weight.dtype == torch.bfloat16
    assert torch.equal(block.A_log, before[0])
    assert torch.equal(block.dt_bias, before[1])
    assert block(inputs().bfloat16()).dtype == torch.bfloat16
    assert block.double().A_log.dtype == torch.float64


@pytest.mark.parametrize("options", FORMS)
def test_returns_the_branch_alone(options):
    """The layer adds the stream: a block that writes nothing must not bring its input along."""
    block = build(**options)
    assert block(inputs()).any()
    torch.nn.init.zeros_(block.out_proj.weight)
    assert not block(inputs()).any()


@pytest.mark.parametrize("options", FORMS)
def test_tokens_are_mixed(options):
    """It is not a map of single tokens: all tokens count, with a convolution of one."""
    block = build(conv_kernel=1, **options)
    x = inputs(1).requires_grad_()
    (seen,) = torch.autograd.grad(block(x)[:, 10].sum(), x)
    moved = seen[0].abs().amax(-1) > 0
    assert moved[:11].all()
    assert moved[11:].all() != bool(options.get("causal"))


def test_first_weights():
    torch.manual_seed(0)
    block = Mamba(256, causal=True, decay_init="range")
    assert torch.allclose(block.A_log.exp(), torch.arange(1.0, 9))
    assert (block.D == 1).all()
    dt = F.softplus(block.dt_bias)
    assert ((dt > 0.99e-3) & (dt < 1.01e-1)).all()
    block.reset_parameters(std=0.5, residual_scale=0.1)
    assert block.in_proj.weight.std().item() == pytest.approx(0.5, rel=0.02)
    assert block.out_proj.weight.std().item() == pytest.approx(0.05, rel=0.02)
    assert (block.conv1d.bias == 0).all()
    assert (Mamba(256).A_log == 0).all()  # hydra
    uniform = Mamba(256, decay_init="uniform").A_log.exp()
    assert ((uniform >= 1) & (uniform <= 16)).all()
    floored = Mamba(256, dt_min=1e-6, dt_max=1e-5, dt_floor=1e-2)
    assert torch.allclose(F.softplus(floored.dt_bias), torch.tensor(1e-2))


def test_parameters():
    info = build().parameter_info()
    for name in ("A_log", "D", "dt_bias"):
        assert (info[name].kind, info[name].decay, info[name].role) == ("gate", False, "mamba")
    assert info["conv1d.weight"].kind == "conv"
    assert not info["conv1d.bias"].decay
    assert info["norm.weight"].role == "norms"
    assert info["in_proj.weight"].row_blocks == (16, 16, 6, 6, 6, 6, 4, 4)
    assert build(causal=True).parameter_info()["in_proj.weight"].row_blocks == (16, 16, 6, 6, 4)
    assert build(bidirectional_form="sum").parameter_info()["in_proj.weight"].row_blocks == (
        16,
        16,
        6,
        6,
        4,
        4,
    )


@pytest.mark.parametrize(("width", "head_size"), [(256, 64), (16, 32), (88, 44), (48, 48)])
def test_default_head_width_divides(width, head_size):
    assert Mamba(width).head_size == head_size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_size": 5}, "do not fall into heads"),
        ({"num_groups": 3}, "do not fall into heads"),
        ({"conv_kernel": 4}, "no middle"),
        ({"dt_min": 0.2}, "dt_min, dt_max"),
        ({"dt_limit": (1.0, 0.5)}, "dt_limit"),
        ({"dt_limit": (-1.0, None)}, "dt_limit"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_options():
    given = {"state_size": 0, "bidirectional_form": "both", "dt_limit": [0.01, None], "conv_kernel": 5}
    assert set(check_options("mamba", Mamba, given)) == {"state_size", "bidirectional_form"}
