"""What the linear-recurrent blocks share, on gla and hgrn2: the papers, padding, steps, parameters."""

import pytest
import torch

from support.references import by_the_reference
from support.tensors import normal
from ultra_blocks.linear import BitLinear
from ultra_blocks.mixers.gla import GLA
from ultra_blocks.mixers.hgrn2 import HGRN2
from ultra_blocks.testing import block_cases, pytest_params

WIDTH, HEADS = 8, 2

SIZES = {"num_heads": HEADS, "chunk_size": 4}

BLOCKS = [
    (GLA, {}),
    (GLA, {"value_expansion": 2.0, "gate_rank": 3, "gate_temperature": 4.0, "output_gate": "sigmoid"}),
    (HGRN2, {}),
    (HGRN2, {"lower_bound": 0.3, "output_gate": "none"}),
]


def build(cls, **options):
    torch.manual_seed(0)
    block = cls(WIDTH, **{**SIZES, **options}).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return block


def inputs(batch=2, length=21):
    return normal((batch, length, WIDTH), seed=1)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("conv_size", [None, 0, 3])
@pytest.mark.parametrize(("cls", "options"), BLOCKS)
def test_is_what_the_papers_say(cls, options, conv_size, causal):
    block, x = build(cls, causal=causal, conv_size=conv_size, **options), inputs(1).requires_grad_()
    targets = (x, *block.parameters())
    weights = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ours, theirs = block(x), by_the_reference(block, x, **SIZES, conv_size=conv_size, **options)
    assert (ours - theirs).abs().max() < 1e-12 * theirs.abs().max()
    for a, b in zip(
        torch.autograd.grad((ours * weights).sum(), targets),
        torch.autograd.grad((theirs * weights).sum(), targets),
        strict=True,
    ):
        assert (a - b).abs().max() < 1e-10 * (b.abs().max() + 1e-3)


@pytest.mark.parametrize("length", [1, 2, 4, 5, 21])
@pytest.mark.parametrize(("cls", "options"), [*BLOCKS, (GLA, {"conv_size": 0}), (HGRN2, {"conv_size": 1})])
def test_steps_are_the_causal_form(cls, options, length):
    block, x = build(cls, causal=True, **options), inputs(length=length)
    state, outputs = block.init_state(2), []
    for x_t in x.unbind(1):
        y, state = block.step(x_t, state)
        outputs.append(y)
    assert (torch.stack(outputs, 1) - block(x)).abs().max() < 1e-12
    assert state.memory.shape == (2, HEADS, block.key_dim, block.value_dim)


@pytest.mark.parametrize("cls", [GLA, HGRN2])
def test_state_is_fp32_for_bf16_weights(cls):
    block = build(cls, causal=True).bfloat16()
    y, state = block.step(torch.randn(3, WIDTH, dtype=torch.bfloat16), block.init_state(3))
    assert (y.dtype, state.memory.dtype, state.window.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    assert block(inputs().bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("cls", [GLA, HGRN2])
def test_no_steps_without_causal(cls):
    with pytest.raises(ValueError, match="causal=True"):
        build(cls).init_state(1)


KIT = ["B1", "B1b", "B3", "B5", "B7", "B16"]


@pytest.mark.parametrize(
    ("case", "rule"), pytest_params(block_cases([GLA, HGRN2], options={"chunk_size": 4}), KIT)
)
def test_rules_hold_across_chunks(case, rule):
    """The kit's own rows fit one chunk of the default size."""
    rule(case)


@pytest.mark.parametrize("cls", [GLA, HGRN2])
def test_directions_have_gates_of_their_own(cls):
    """Reversing the input reverses the output only if the gates change places."""
    block, x = build(cls, conv_size=0), inputs()
    assert (block(x.flip(1)).flip(1) - block(x)).abs().max() > 1e-3
    swapped = build(cls, conv_size=0)
    with torch.no_grad():
        for name, weight in swapped.named_parameters():
            if name.startswith("decay_up"):
                weight.copy_(block.get_parameter(name.translate(str.maketrans("01", "10"))))
            elif name in ("decay_down.weight", "forget_proj.weight"):
                weight.copy_(torch.cat(weight.chunk(2)[::-1]))
    assert (swapped(x.flip(1)).flip(1) - block(x)).abs().max() < 1e-13


@pytest.mark.parametrize("cls", [GLA, HGRN2])
def test_heads_are_normalised_one_by_one(cls):
    """Ancestors took one norm over all heads (SPEC 1.11 a12): a loud head would silence the others."""
    block, x = build(cls, output_gate="none", conv_size=0), inputs()
    block.norm.eps = 1e-30
    block.out_proj = torch.nn.Identity()
    quiet = block(x)
    rows = block.in_proj.weight.split(block.in_heights)[0]
    with torch.no_grad():
        rows[: block.key_dim] = 0  # silu of nothing: the first head reads nothing
    loud = block(x)
    assert (loud[..., : block.value_dim] == 0).all()
    assert torch.equal(loud[..., block.value_dim :], quiet[..., block.value_dim :])


@pytest.mark.parametrize(("cls", "options"), BLOCKS)
def test_parameters(cls, options):
    block = build(cls, **options)
    info = block.parameter_info()
    gates = {n for n in info if n.startswith(("decay_", "forget_proj", "bound"))}
    assert gates == {name for name, said in info.items() if said.kind == "gate"}
    assert not any(info[name].decay for name in gates)
    assert {said.role for name, said in info.items()} == {block.role}
    assert (info["conv1d.weight"].kind, info["in_proj.weight"].row_blocks) == ("conv", block.in_heights)
    assert not list(block.buffers())


@pytest.mark.parametrize("cls", [GLA, HGRN2])
def test_ternary_weights_are_in_projections_alone(cls):
    block = cls(WIDTH, num_heads=HEADS, linear=BitLinear)
    ternary = [name for name, module in block.named_modules() if isinstance(module, BitLinear)]
    assert ternary == ["in_proj", "out_proj"]
    assert block.in_proj.row_blocks == block.in_heights


@pytest.mark.parametrize("cls", [GLA, HGRN2])
def test_first_weights(cls):
    torch.manual_seed(0)
    block = cls(256, num_heads=4)
    block.reset_parameters(std=0.5, residual_scale=0.1)
    assert block.in_proj.weight.std().item() == pytest.approx(0.5, rel=0.02)
    assert block.out_proj.weight.std().item() == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize("cls", [GLA, HGRN2])
def test_work_and_memory_are_linear_in_the_length(cls, watched):
    """No loop over tokens or chunks; no tensor over tokens, their partners in a chunk, and channels."""
    torch.manual_seed(0)
    block = cls(32, num_heads=2, chunk_size=16, conv_size=0)  # torch has several kernels for convolutions
    (short, small), (long, large) = watched(block, 256), watched(block, 512)
    assert long == short
    assert large <= 2 * small
    assert large < 512 * 16 * block.key_dim


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (GLA, {"num_heads": 3}, "not a multiple of its 3 heads; change key_expansion"),
        (GLA, {"value_expansion": 0.3}, "value_expansion 0.3"),
        (HGRN2, {"num_heads": 3}, "hidden_size 8 is not a multiple"),
        (HGRN2, {"conv_size": 4}, "no middle"),
        (GLA, {"conv_size": 2}, "no middle"),
    ],
)
def test_options_that_do_not_fit(cls, options, message):
    with pytest.raises(ValueError, match=message):
        build(cls, **options)
