"""deltanet, gated_deltanet, kda against plain forms; what the small rows of the kit do not reach."""

import pytest
import torch
import torch.nn.functional as F

from support.references import by_the_reference
from support.tensors import normal
from ultra_blocks.linear import BitLinear
from ultra_blocks.mixers.deltanet import DeltaNet
from ultra_blocks.mixers.gated_deltanet import GatedDeltaNet
from ultra_blocks.mixers.kda import KDA
from ultra_blocks.testing import block_cases, pytest_params

WIDTH, HEADS, KEYS = 8, 2, 4
SIZES = {"num_heads": HEADS, "chunk_size": 4}
BLOCKS = [DeltaNet, GatedDeltaNet, KDA]


def build(cls, **options):
    torch.manual_seed(0)
    block = cls(WIDTH, **{**SIZES, **options}).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return block


def inputs(batch=2, length=21):
    return normal((batch, length, WIDTH), seed=1)


OPTIONS = [
    {},
    {"value_expansion": 3, "output_gate": "sigmoid"},
    {"negative_eigenvalues": True, "output_gate": "none", "chunk_size": 64},
    {"conv_size": 0},
]


@pytest.mark.parametrize("cls", BLOCKS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
def test_is_what_the_papers_say(cls, causal, options):
    block, x = build(cls, causal=causal, **options), inputs(1, 11).requires_grad_()
    targets = (x, *block.parameters())
    weights = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ours, theirs = block(x), by_the_reference(block, x, **{**SIZES, **options})
    assert (ours - theirs).abs().max() < 1e-12 * theirs.abs().max()
    for a, b in zip(
        torch.autograd.grad((ours * weights).sum(), targets),
        torch.autograd.grad((theirs * weights).sum(), targets),
        strict=True,
    ):
        assert (a - b).abs().max() < 1e-10 * (b.abs().max() + 1e-3)


@pytest.mark.parametrize("cls", BLOCKS)
@pytest.mark.parametrize("length", [1, 4, 21])
@pytest.mark.parametrize("options", [{}, {"conv_size": 0}, {"negative_eigenvalues": True}])
def test_steps_are_the_causal_form(cls, length, options):
    block, x = build(cls, causal=True, **options), inputs(length=length)
    state, outputs = block.init_state(2), []
    for x_t in x.unbind(1):
        y, state = block.step(x_t, state)
        outputs.append(y)
    assert (torch.stack(outputs, 1) - block(x)).abs().max() < 1e-12
    assert state.memory.shape == (2, HEADS, KEYS, block.value_dim)


CASES = block_cases(BLOCKS, options={"chunk_size": 2})


@pytest.mark.parametrize(("case", "rule"), pytest_params(CASES, ["B1b", "B7"]))
def test_padding_and_packing_across_chunks(case, rule):
    """The kit's own rows fit one chunk of the default size."""
    rule(case)


@pytest.mark.parametrize("cls", BLOCKS)
def test_directions_have_gates_of_their_own(cls):
    """Delta rules are not symmetric: the mirror image with gates exchanged is, with the same gates not."""
    block, x = build(cls), inputs()
    mirrored = build(cls)
    with torch.no_grad():
        mirrored.load_state_dict(block.state_dict())
        mirrored.conv1d.weight.copy_(block.conv1d.weight.flip(-1))
    assert (mirrored(x.flip(1)).flip(1) - block(x)).abs().max() > 1e-3
    with torch.no_grad():
        for name, parameter in mirrored.named_parameters():
            if name in block.exact_parameters or name.startswith(("beta_proj", "decay_proj", "decay_up")):
                parameter.copy_(torch.cat(parameter.chunk(2)[::-1]))
    assert (mirrored(x.flip(1)).flip(1) - block(x)).abs().max() < 1e-13


@pytest.mark.parametrize("cls", BLOCKS)
def test_heads_are_normed_one_by_one(cls):
    """The ancestor normed over all heads together, so that a loud head silenced the others."""
    block, x = build(cls, output_gate="none", conv_size=0), inputs()
    block.out_proj = torch.nn.Identity()
    before = block(x)
    with torch.no_grad():
        block.in_proj.weight[2 * WIDTH : 2 * WIDTH + block.value_dim] *= 100
    after = block(x)
    assert torch.equal(after[..., block.value_dim :], before[..., block.value_dim :])


@pytest.mark.parametrize("cls", [GatedDeltaNet, KDA])
def test_decays_depend_on_the_token(cls):
    """The ancestor's were parameters."""
    block = build(cls)
    for decays in block.log_decays(inputs()):
        assert (decays < 0).all()
        assert (decays.std(1) > 0).all()


@pytest.mark.parametrize("cls", [GatedDeltaNet, KDA])
def test_half_precision_keeps_decays(cls):
    block = build(cls).float()
    before = block.A_log.detach().clone(), block.dt_bias.detach().clone()
    block.bfloat16()
    assert {p.dtype for n, p in block.named_parameters() if "." not in n} == {torch.float32}
    assert block.in_proj.weight.dtype == torch.bfloat16
    assert torch.equal(block.A_log, before[0])
    assert torch.equal(block.dt_bias, before[1])
    assert block(inputs().bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(("cls", "lowest"), [(GatedDeltaNet, 0.0), (KDA, 1.0)])
def test_first_decays(cls, lowest):
    torch.manual_seed(0)
    block = cls(256, num_heads=64)
    A, dt = block.A_log.exp(), F.softplus(block.dt_bias)
    assert ((lowest <= A) & (A <= 16)).all()
    assert A.std() > 3
    assert ((dt > 0.99e-3) & (dt < 1.01e-1)).all()
    assert dt.log().std() > 1


@pytest.mark.parametrize("cls", BLOCKS)
def test_parameters(cls):
    block = build(cls, value_expansion=2)
    info = block.parameter_info()
    gates = {name for name, said in info.items() if said.kind == "gate"}
    assert gates == {
        *block.exact_parameters,
        *(f"{module}.weight" for module in block.gate_modules),
    }
    assert not any(info[name].decay for name in gates)
    assert info["in_proj.weight"].role == block.role
    assert info["in_proj.weight"].row_blocks == (8, 8, 16, 16)
    assert info["conv1d.weight"].kind == "conv"
    # projections 2 D + 2 * 2 D, convolution, norm, output 2 D; beta of both directions
    count = 6 * WIDTH**2 + 5 * 4 * WIDTH + 8 + 2 * WIDTH**2 + 2 * HEADS * WIDTH
    if cls is GatedDeltaNet:
        count += 2 * HEADS * WIDTH + 2 * 2 * HEADS
    if cls is KDA:
        count += WIDTH * KEYS + KEYS * 2 * WIDTH + 2 * HEADS + 2 * WIDTH
    assert sum(p.numel() for p in block.parameters()) == count


@pytest.mark.parametrize("cls", BLOCKS)
def test_only_projections_are_ternary(cls):
    block = build(cls, linear=BitLinear)
    assert {name for name, m in block.named_modules() if isinstance(m, BitLinear)} == {"in_proj", "out_proj"}


@pytest.mark.parametrize("cls", BLOCKS)
@pytest.mark.parametrize(
    ("options", "message"), [({"num_heads": 3}, "not a multiple"), ({"conv_size": 4}, "no middle")]
)
def test_options_that_do_not_fit(cls, options, message):
    with pytest.raises(ValueError, match=message):
        build(cls, **options)


@pytest.mark.parametrize("cls", BLOCKS)
def test_no_steps_without_causal(cls):
    with pytest.raises(ValueError, match="causal=True"):
        build(cls).init_state(1)
