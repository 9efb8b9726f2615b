"""titan_attn against the references: HoPE by boosts, the memory token by token with autograd inside."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from support.references import by_the_reference
from support.tensors import randomise
from ultra_blocks.layout import Layout
from ultra_blocks.mixers.softmax import KVCache
from ultra_blocks.mixers.standard_attn import StandardAttention
from ultra_blocks.mixers.titan_attn import TitanAttention, TitanState
from ultra_blocks.positions.hope import HoPE
from ultra_blocks.reference.layers import rms_norm
from ultra_blocks.testing import block_cases, pytest_params

WIDTH, HEADS, D = 8, 2, 4

SIZES: dict[str, Any] = {"num_heads": HEADS, "memory_chunk": 3, "persistent_tokens": 2}
SHORT_CHUNKS = {"memory_chunk": 5}
PLAIN = {"memory": False}
CONTEXT = {"variant": "mac", "memory_chunk": 5}
ALIBI_CONTEXT = {"variant": "mac", "memory_chunk": 3, "positions": "alibi", "persistent_tokens": 0}
LAYER = {"variant": "mal", "memory_chunk": 5, "window": 6}
DEEP = {"memory_depth": 2, "memory_chunk": 5}
DEEP_CONTEXT = {"memory_depth": 2, "variant": "mac", "memory_chunk": 4, "positions": "rope"}
DEEP_LAYER = {"memory_depth": 2, "variant": "mal", "memory_chunk": 3}
CAPPED = {"memory_chunk": 5, "softcap": 0.5}
CAPPED_CONTEXT = {"variant": "mac", "memory_chunk": 3, "positions": "alibi", "softcap": 0.5}
ROTARY = {"memory_chunk": 3, "positions": "rope", "window": 4, "qk_norm": True, "bias": True}


@pytest.mark.parametrize(
    ("case", "rule"),
    [
        *pytest_params(
            block_cases([TitanAttention], options=SHORT_CHUNKS),
            ["B1", "B1b", "B3", "B4", "B5", "B7", "B10", "B16"],
        ),
        *pytest_params(
            block_cases([TitanAttention], options=PLAIN), ["B1b", "B5", "B7", "B8", "B15b", "B21", "B22"]
        ),
        *pytest_params(block_cases([TitanAttention], options=CAPPED), ["B1", "B5", "B7", "B10", "B16"]),
        *pytest_params(block_cases([TitanAttention], options=CAPPED_CONTEXT), ["B1", "B5", "B7", "B16"]),
        *pytest_params(
            block_cases([TitanAttention], options=CONTEXT),
            ["B1", "B1b", "B3", "B4", "B5", "B7", "B8", "B10", "B15", "B16"],
        ),
        *pytest_params(block_cases([TitanAttention], options=ALIBI_CONTEXT), ["B5", "B7"]),
        *pytest_params(block_cases([TitanAttention], options=LAYER), ["B1", "B1b", "B3", "B5", "B7", "B16"]),
        *pytest_params(
            block_cases([TitanAttention], options=DEEP),
            ["B1", "B1b", "B3", "B4", "B5", "B7", "B10", "B15", "B16"],
        ),
        *pytest_params(block_cases([TitanAttention], options=DEEP_CONTEXT), ["B1", "B1b", "B5", "B7", "B16"]),
        *pytest_params(block_cases([TitanAttention], options=DEEP_LAYER), ["B5", "B7"]),
        *pytest_params(block_cases([TitanAttention], options=ROTARY), ["B1", "B5", "B7", "B8", "B10"]),
    ],
)
def test_conformance(case, rule) -> None:
    rule(case)


def awake(**options: Any) -> TitanAttention:
    """A block whose parameters all have values at which an error shows."""
    block = TitanAttention(WIDTH, **{**SIZES, **options}).double().eval()
    return randomise(block)


@given(
    st.sampled_from(["mag", "mal", "mac"]),
    st.sampled_from([1, 2]),
    st.integers(1, 9),
    st.booleans(),
    st.sampled_from(["rope", "hope"]),
    st.sampled_from([1, 3, 64]),
    st.sampled_from([0.6, 2.0]),
    st.booleans(),
    st.sampled_from([None, 0.5]),
    st.integers(0, 99),
)
def test_equals_the_paper_forward_and_backward(
    variant: str,
    depth: int,
    length: int,
    causal: bool,
    positions: Any,
    chunk: int,
    real: float,
    packed: bool,
    softcap: float | None,
    seed: int,
) -> None:
    g = torch.Generator().manual_seed(seed)
    options: dict[str, Any] = {"variant": variant, "memory_depth": depth, "positions": positions}
    options |= {"memory_chunk": chunk, "softcap": softcap}
    block = awake(causal=causal, **options)
    mask = torch.rand(2, length, generator=g) < real
    documents = (torch.rand(2, length, generator=g) < 0.3).cumsum(1) if packed else None
    layout = Layout.from_mask(mask, documents)
    x = torch.randn(2, length, WIDTH, generator=g, dtype=torch.float64).requires_grad_()
    y, wanted = block(x, layout), by_the_reference(block, x, layout, **{**SIZES, **options})
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-11)
    if not y.any():
        return
    noise = torch.randn(y.shape, generator=g, dtype=y.dtype)
    leaves = [x, *block.parameters()]
    ours = torch.autograd.grad(y, leaves, noise)
    theirs = torch.autograd.grad(wanted, leaves, noise, allow_unused=True, materialize_grads=True)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("causal", [False, True])
def test_without_memory_it_is_attention_with_hope(causal: bool) -> None:
    torch.manual_seed(0)
    block = TitanAttention(WIDTH, num_heads=HEADS, memory=False, causal=causal, positions=HoPE)
    plain = StandardAttention(WIDTH, num_heads=HEADS, causal=causal, positions=HoPE)
    assert [n for n, _ in block.named_parameters()] == ["qkv_proj.weight", "out_proj.weight"]
    plain.load_state_dict(block.state_dict())
    x = torch.randn(2, 9, WIDTH)
    layout = Layout.from_mask(torch.arange(9)[None] >= torch.tensor([[0], [4]]))
    assert torch.equal(block(x, layout), plain(x, layout))
    if causal:
        assert isinstance(block.init_state(1), KVCache)
        first, _ = block.step(x[:, 0], block.init_state(2))
        torch.testing.assert_close(first, plain(x)[:, 0])


def test_the_memory_chunk_changes_the_result() -> None:
    """Gradients are taken at the memory before the chunk: shorter chunks correct themselves earlier."""
    x = torch.randn(1, 12, WIDTH, dtype=torch.float64)
    assert (awake(memory_chunk=2)(x) - awake(memory_chunk=6)(x)).abs().max() > 1e-4


def test_a_gate_does_not_see_what_context_and_layer_add() -> None:
    """With values at 0 there is nothing to read: mal is attention, mag and mac gate it by a half."""
    x = torch.randn(1, 4, WIDTH, dtype=torch.float64)
    outputs = {}
    for variant in ("mag", "mal", "mac"):
        block = awake(variant=variant, positions="rope", memory_chunk=4)
        with torch.no_grad():
            block.memory.qkv_proj.weight[2 * WIDTH :] = 0
        outputs[variant] = block(x), block.out_proj(block._attend(x, Layout.full(1, 4)))
        if variant != "mal":
            heads = block._attend(x, Layout.full(1, 4)).unflatten(-1, (HEADS, D))
            halved = block.out_proj(rms_norm(heads, block.attention_norm.weight).flatten(2) / 2)
            torch.testing.assert_close(outputs[variant][0], halved)
    torch.testing.assert_close(*outputs["mal"])


@pytest.mark.parametrize("causal", [False, True])
def test_context_reaches_over_segments_by_the_memory_alone(causal: bool) -> None:
    """Without it a segment knows nothing of the others."""
    block = awake(variant="mac", memory_chunk=3, causal=causal)
    x = torch.randn(1, 9, WIDTH, dtype=torch.float64, requires_grad=True)
    (seen,) = torch.autograd.grad(block(x)[:, 7].sum(), x)
    assert (seen[0, :3].abs().amax(-1) > 1e-9).all()
    with torch.no_grad():
        block.memory.qkv_proj.weight[2 * WIDTH :] = 0
    (seen,) = torch.autograd.grad(block(x)[:, 7].sum(), x)
    assert not seen[0, :6].any()
    assert seen[0, 6].any()


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("variant", ["mag", "mal", "mac"])
def test_gradients_flow_through_inner_gradients(variant: str, depth: int) -> None:
    """A key moves what is learnt by others after it: the residual that later chunks see."""
    block = awake(variant=variant, memory_depth=depth, memory_chunk=2, causal=True)
    x = torch.randn(1, 6, WIDTH, dtype=torch.float64, requires_grad=True)

    def read(x: Tensor) -> Tensor:
        return block(x)

    assert torch.autograd.gradgradcheck(read, (x,), fast_mode=True, atol=1e-4)


def test_a_row_of_padding_in_a_packed_batch() -> None:
    layout = Layout.from_mask(
        torch.tensor([[True] * 4, [False] * 4]), torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0]])
    )
    y = awake()(torch.randn(2, 4, WIDTH, dtype=torch.float64), layout)
    assert y[0].all()
    assert not y[1].any()


@pytest.mark.parametrize("variant", ["mag", "mal", "mac"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (0, 0)])
@pytest.mark.parametrize("depth", [1, 2])
def test_nothing_gives_nothing(depth: int, shape: tuple[int, int], causal: bool, variant: str) -> None:
    block = awake(variant=variant, causal=causal, memory_depth=depth)
    x = torch.zeros(*shape, WIDTH, dtype=torch.float64, requires_grad=True)
    y = block(x)
    y.sum().backward()
    assert y.shape == x.grad.shape == x.shape
    assert not any(p.grad.any() for p in block.parameters() if p.grad is not None)


def test_state() -> None:
    block = awake(causal=True).bfloat16()
    state = block.init_state(3)
    assert isinstance(state, TitanState)
    assert state.memory.memory.shape == (3, HEADS, D, D)
    assert state.memory.memory.dtype is torch.float32
    y, state = block.step(torch.randn(3, WIDTH, dtype=torch.bfloat16), state)
    assert (y.dtype, state.memory.momentum.dtype, state.memory.length) == (torch.bfloat16, torch.float32, 1)
    deep = awake(causal=True, memory_depth=2).bfloat16()
    state = deep.init_state(3)
    assert state.memory.memory.shape == (3, HEADS, 2, D, 2 * D)
    y, state = deep.step(torch.randn(3, WIDTH, dtype=torch.bfloat16), state)
    assert (y.dtype, state.memory.momentum.dtype) == (torch.bfloat16, torch.float32)
    block = awake(causal=True, variant="mac", memory_chunk=2).bfloat16()
    state = block.init_state(3)
    for seen in (1, 2, 1):
        y, state = block.step(torch.randn(3, WIDTH, dtype=torch.bfloat16), state)
        assert state.keys.shape == (3, HEADS, seen, D)
    assert state.retrieved_keys.shape == (3, HEADS, 1, D)
    assert (y.dtype, state.memory.memory.dtype) == (torch.bfloat16, torch.float32)
    with pytest.raises(ValueError, match="causal=True"):
        awake().init_state(1)
