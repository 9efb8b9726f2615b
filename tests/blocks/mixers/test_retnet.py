"""RetNet: the block against the authors' semantics and its recurrent form; what the kit does not know."""

import math

import pytest
import torch
import torch.nn.functional as F

from support.tensors import normal
from ultra_blocks.layout import Layout
from ultra_blocks.mixers.retnet import RetNet
from ultra_blocks.testing import block_cases, pytest_params
from ultra_core.plugins.signatures import check_options, read_options

WIDTH, HEADS = 16, 2


def build(**options):
    torch.manual_seed(0)
    options = {"num_heads": HEADS, "chunk_size": 4, **options}
    return RetNet(WIDTH, **options).double()


def inputs(batch=2, length=21):
    return normal((batch, length, WIDTH), seed=1)


def authors_parallel_form(block, x):
    """Parallel retention of torchscale from its maths, row normalisers and clamped score sums included."""
    length, heads = x.shape[1], block.num_heads
    d_k = WIDTH // heads
    q, k, v, g = (x @ w.T for w in block.in_proj.weight.split(block.widths))
    q, k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (q, k * d_k**-0.5, v))
    theta = 1 / 10000 ** torch.linspace(0, 1, d_k // 2, dtype=x.dtype)
    angle = (torch.arange(length)[:, None] * theta).repeat_interleave(2, -1)

    def shift(y):
        swapped = torch.stack((-y[..., 1::2], y[..., ::2]), -1).flatten(-2)
        return y * angle.cos() + swapped * angle.sin()

    distance = torch.arange(length)[:, None] - torch.arange(length)
    gamma = 1 - 2.0 ** (-5 - torch.arange(heads, dtype=x.dtype))
    decay = gamma[:, None, None] ** distance.abs()
    if block.causal:
        decay = decay.tril()
    decay = decay / decay.sum(-1, keepdim=True).sqrt()
    scores = shift(q) @ shift(k).transpose(-1, -2) * decay
    scores = scores / scores.detach().sum(-1, keepdim=True).abs().clamp(min=1)
    y = scores @ v
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True))
    return (F.silu(g) * y.transpose(1, 2).flatten(-2)) @ block.out_proj.weight.T


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("value_expansion", [1, 2])
def test_agrees_with_the_authors_code_after_the_norm(causal, value_expansion):
    block, x = build(causal=causal, value_expansion=value_expansion, eps=1e-30), inputs()
    ours, theirs = block(x), authors_parallel_form(block, x)
    assert (ours - theirs).abs().max() < 1e-12 * theirs.abs().max()


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_agree_with_the_authors_code(causal):
    """Their divisors scale whole heads of a token, which the norm takes out of the gradient too."""
    block, x = build(causal=causal, eps=1e-30), inputs().requires_grad_()
    targets = (x, *block.parameters())
    weights = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ours = torch.autograd.grad((block(x) * weights).sum(), targets)
    theirs = torch.autograd.grad((authors_parallel_form(block, x) * weights).sum(), targets)
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() < 1e-10 * b.abs().max()


@pytest.mark.parametrize("length", [1, 4, 21])
def test_split_heads_read_one_side_each(length):
    """Half of the heads are those of the causal block, the others the same on the reversed row."""
    block, x = build(bidirectional_form="split", num_heads=4, rotation="none"), inputs(1, length)
    causal = build(causal=True, num_heads=4, rotation="none")
    for one in (block, causal):
        one.out_proj = torch.nn.Identity()
    causal.load_state_dict(block.state_dict())
    past, following = block(x).chunk(2, -1)
    causal.log_gammas = 2 * block.log_gammas
    assert block.log_gammas == causal.log_gammas[:2]
    assert (past - causal(x).chunk(2, -1)[0]).abs().max() < 1e-13
    assert (following - causal(x.flip(1)).flip(1).chunk(2, -1)[1]).abs().max() < 1e-13


@pytest.mark.parametrize("rotation", ["torchscale", "rope", "none"])
@pytest.mark.parametrize("length", [1, 3, 4, 5, 21])
def test_steps_are_the_causal_form(length, rotation):
    block, x = build(causal=True, rotation=rotation), inputs(length=length)
    state, outputs = block.init_state(2), []
    for t in range(length):
        y, state = block.step(x[:, t], state)
        outputs.append(y)
    assert (torch.stack(outputs, 1) - block(x)).abs().max() < 1e-12
    assert state.memory.shape == (2, HEADS, WIDTH // HEADS, 2 * WIDTH // HEADS)
    assert state.position.tolist() == [length, length]


def test_state_is_fp32_for_bf16_weights():
    block = build(causal=True).bfloat16()
    state = block.init_state(3)
    assert state.memory.dtype == torch.float32
    y, state = block.step(torch.randn(3, WIDTH, dtype=torch.bfloat16), state)
    assert (y.dtype, state.memory.dtype) == (torch.bfloat16, torch.float32)


def test_no_steps_without_causal():
    with pytest.raises(ValueError, match="causal=True"):
        build().init_state(1)


def test_bidirectional_block_mirrors_without_rotation():
    block, x = build(rotation="none"), inputs()
    assert (block(x.flip(1)) - block(x).flip(1)).abs().max() < 1e-12


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("options", [{}, {"rotation": "none"}, {"decay_init": "linspace"}])
def test_chunk_size_does_not_change_the_result(causal, options):
    x = inputs()
    results = [build(causal=causal, chunk_size=size, **options)(x) for size in (1, 2, 5, 64)]
    for result in results[:-1]:
        assert (result - results[-1]).abs().max() < 1e-12


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("holes", [[0, 1, 2], [20, 19], [3, 4, 5, 11, 12], [0, 7, 8, 9, 10, 11, 12, 13, 20]])
def test_padding_anywhere_leaves_what_the_tokens_alone_give(causal, holes):
    block, x = build(causal=causal), inputs(batch=1)
    mask = torch.ones(1, 21, dtype=torch.bool)
    mask[0, holes] = False
    filled = x.masked_fill(~mask[..., None], float("nan")).requires_grad_()
    y = block(filled, Layout.from_mask(mask))
    alone = block(x[mask][None])
    assert (y[mask] - alone[0]).abs().max() < 1e-12
    assert (y[~mask] == 0).all()
    (gradient,) = torch.autograd.grad(y.sum(), filled)
    assert gradient.isfinite().all()
    assert (gradient[~mask] == 0).all()


@pytest.mark.parametrize("causal", [False, True])
def test_documents_of_a_row_are_strangers(causal):
    block, x = build(causal=causal), inputs(batch=1, length=24)
    lengths = [1, 3, 11, 9]
    documents = torch.tensor([d for d, n in enumerate(lengths) for _ in range(n)])[None]
    y = block(x, Layout.from_mask(torch.ones(1, 24, dtype=torch.bool), documents))
    alone = torch.cat([block(part) for part in x.split(lengths, 1)], 1)
    assert (y - alone).abs().max() < 1e-12


KIT = ["B1", "B1b", "B3", "B5", "B7", "B8", "B16"]


CASES = [
    *block_cases([RetNet], options={"chunk_size": 3}),
    *list(block_cases([RetNet], options={"chunk_size": 3, "bidirectional_form": "split"}))[:1],
]


@pytest.mark.parametrize(("case", "rule"), pytest_params(CASES, [*KIT, "B4", "B10"]))
def test_rules_hold_across_chunks(case, rule):
    """The kit's own rows fit one chunk of the default size."""
    rule(case)


def test_layers_of_a_forward_share_their_tables():
    layout = Layout.from_mask(torch.ones(1, 9, dtype=torch.bool), torch.arange(9)[None] // 5)
    block, x = build(), inputs(1, 9)
    block(x, layout)
    made = dict(layout.memo)
    block(x, layout)
    assert layout.memo.keys() == made.keys()
    assert all(layout.memo[key] is made[key] for key in made)
    build(causal=True)(x, layout)
    assert len(layout.memo) == len(made) + 1  # other decays, the same rotation


def test_bf16_autocast_is_close():
    torch.manual_seed(0)
    block, x = RetNet(64, num_heads=2, chunk_size=16), torch.randn(2, 200, 64)
    exact = block(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = block(x)
    assert (y.float() - exact).norm() / exact.norm() < 2e-2


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("num_heads", [2, 16])
def test_extremes_stay_finite(scale, num_heads):
    """16 heads of 2 channels: the slowest decay is 1 - 2^-20."""
    torch.manual_seed(0)
    block = RetNet(32, num_heads=num_heads)
    x = (scale * torch.randn(1, 2048, 32)).requires_grad_()
    y = block(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert all(p.grad.isfinite().all() for p in (x, *block.parameters()))


def test_initial_weights():
    torch.manual_seed(0)
    block = RetNet(256, num_heads=4)
    block.reset_parameters(std=123.0, residual_scale=0.1)
    for weight, height in zip(block.in_proj.weight.split(block.widths), (256, 256, 512, 512), strict=True):
        assert weight.shape[0] == height
        bound = 2**-2.5 * math.sqrt(6 / (256 + height))
        assert weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    bound = 0.1 * 2**-1 * math.sqrt(6 / (256 + 512))
    assert block.out_proj.weight.abs().max().item() == pytest.approx(bound, rel=1e-3)


def test_parameters():
    block = RetNet(32, num_heads=4)
    info = block.parameter_info()
    assert {name: i.role for name, i in info.items()} == {
        "in_proj.weight": "retnet",
        "out_proj.weight": "retnet",
    }
    assert info["in_proj.weight"].row_blocks == (32, 32, 64, 64)
    assert sum(p.numel() for p in block.parameters()) == 8 * 32**2
    assert not list(block.buffers())


def test_options():
    assert read_options(RetNet)["num_heads"].from_model == "retention_heads"
    faults = check_options(
        "retnet", RetNet, {"chunk_size": 0, "rotation": "xpos", "decay_init": "powers", "heads": 2}
    )
    assert set(faults) == {"chunk_size", "rotation", "heads"}


@pytest.mark.parametrize(
    ("width", "options", "message"),
    [
        (30, {"num_heads": 4}, "not a multiple"),
        (12, {"num_heads": 4}, "pairs to rotate"),
        (12, {"num_heads": 3, "bidirectional_form": "split"}, "half of the heads"),
    ],
)
def test_widths_that_do_not_divide(width, options, message):
    with pytest.raises(ValueError, match=message):
        RetNet(width, **options)


def test_odd_heads_without_rotation():
    y = RetNet(12, num_heads=4, rotation="none")(torch.randn(1, 5, 12))
    assert y.shape == (1, 5, 12)
