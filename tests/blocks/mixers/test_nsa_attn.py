from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from support.references import by_the_reference
from support.tensors import randomise
from ultra_blocks.functional import nsa_branches
from ultra_blocks.layout import Layout
from ultra_blocks.mixers.nsa_attn import NativeSparseAttention
from ultra_blocks.testing import check_block
from ultra_blocks.testing.draws import Batch, batches

DRAWN = batches(rows=(1, 2), documents=(0, 2), paddings=("none", "left", "right", "inside"), longest=25)
SMALL = {
    "compress_block": 4,
    "compress_stride": 2,
    "select_block": 4,
    "num_selected": 3,
    "local_blocks": 2,
    "window": 3,
}
BOUNDED = {"qk_norm": True, "softcap": 0.5}
SIZES = [
    SMALL,
    {
        **SMALL,
        "compress_block": 3,
        "compress_stride": 3,
        "select_block": 6,
        "num_selected": 2,
        "local_blocks": 1,
    },
    {**SMALL, "select_block": 8},
]


def awake(module: nn.Module) -> nn.Module:
    return randomise(module, scale=0.5, seed=0).double().eval()


@given(DRAWN, st.booleans(), st.sampled_from(SIZES), st.booleans(), st.sampled_from([None, 0.5]))
def test_equals_the_paper_forward_and_all_gradients(
    batch: Batch, causal: bool, sizes: dict[str, int], qk_norm: bool, softcap: float | None
) -> None:
    options: dict[str, Any] = {"num_heads": 4, "num_kv_heads": 2, "bias": True, **sizes}
    options |= {"qk_norm": qk_norm, "softcap": softcap}
    block = awake(NativeSparseAttention(16, causal=causal, **options))
    layout = batch.layout()
    x = batch.place(batch.tokens(16), layout, 16, 1.0).detach().requires_grad_()
    weight = torch.randn(x.shape, generator=batch.generator(5), dtype=x.dtype)
    leaves = [x, *block.parameters()]
    got, wanted = block(x, layout), by_the_reference(block, x, layout, **options)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    if wanted.requires_grad:
        ours, theirs = (
            torch.autograd.grad(y, leaves, weight, allow_unused=True, materialize_grads=True)
            for y in (got, wanted)
        )
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_keeps_the_rules_where_blocks_are_chosen() -> None:
    rules = ["B1b", "B3", "B5", "B7", "B8", "B10", "B16"]
    check_block("nsa_attn", options=SMALL, rules=rules)
    check_block("nsa_attn", options={**SMALL, **BOUNDED}, rules=rules)


@pytest.mark.parametrize("causal", [False, True])
def test_queries_taken_in_parts_give_the_same(monkeypatch: pytest.MonkeyPatch, causal: bool) -> None:
    torch.manual_seed(0)
    block = awake(NativeSparseAttention(16, num_heads=4, num_kv_heads=2, causal=causal, **SMALL))
    x = torch.randn(2, 45, 16, dtype=torch.float64, requires_grad=True)
    layout = Layout.from_mask(torch.arange(45) < torch.tensor([[45], [30]]))
    results = []
    for most in (1024, 7):
        monkeypatch.setattr(nsa_branches, "QUERIES", most)
        y = block(x, layout)
        results.append([y, *torch.autograd.grad(y.square().sum(), [x, *block.parameters()])])
    torch.testing.assert_close(*results, rtol=0, atol=1e-11)


def test_the_future_reaches_no_branch_in_no_way() -> None:
    block = awake(NativeSparseAttention(16, num_heads=4, num_kv_heads=2, causal=True, **SMALL))
    x = torch.randn(1, 40, 16, dtype=torch.float64, requires_grad=True)
    y = block(x)
    for here in (0, 3, 4, 17, 18, 38):
        (seen,) = torch.autograd.grad(y[0, here].sum(), x, retain_graph=True)
        assert not seen[0, here + 1 :].any()
        other = x.detach().clone()
        other[0, here + 1 :] = 50.0
        assert torch.equal(block(other)[0, : here + 1], y[0, : here + 1])


def test_every_branch_acts_and_gates_are_of_each_token_and_head() -> None:
    block = awake(NativeSparseAttention(16, num_heads=4, num_kv_heads=2, **SMALL))
    x = torch.randn(1, 20, 16, dtype=torch.float64)
    whole = block(x)
    with torch.no_grad():
        for branch in range(3):
            kept = block.gate_proj.bias.clone()
            block.gate_proj.bias[4 * branch : 4 * (branch + 1)] = -1e9
            assert (block(x) - whole).abs().amax(-1).min() > 1e-6
            block.gate_proj.bias.copy_(kept)
        block.gate_proj.bias.fill_(-1e9)
        assert not block(x).any()


@pytest.mark.parametrize("bounds", [{}, BOUNDED])
@pytest.mark.parametrize("causal", [False, True])
def test_memory_is_linear(
    watched, monkeypatch: pytest.MonkeyPatch, causal: bool, bounds: dict[str, Any]
) -> None:
    monkeypatch.setattr(nsa_branches, "QUERIES", 64)
    sizes = {**SMALL, "select_block": 16, "num_selected": 4, "window": 16}
    block = NativeSparseAttention(16, num_heads=4, num_kv_heads=2, causal=causal, **sizes, **bounds)
    (_, small), (_, large) = watched(block, 256), watched(block, 512)
    assert large <= 2.1 * small


@pytest.mark.parametrize("bounds", [{}, BOUNDED])
@pytest.mark.parametrize("sizes", SIZES)
def test_decoding_equals_the_forward_pass(sizes: dict[str, int], bounds: dict[str, Any]) -> None:
    block = awake(NativeSparseAttention(16, num_heads=4, num_kv_heads=2, causal=True, **sizes, **bounds))
    x = torch.randn(2, 37, 16, dtype=torch.float64)
    whole, state = block(x), block.init_state(2)
    for t in range(37):
        y, state = block.step(x[:, t], state)
        torch.testing.assert_close(y, whole[:, t], rtol=0, atol=1e-12)
    assert state.raw[0].shape[2] == sizes["compress_block"]
    assert state.window[0].shape[2] == sizes["window"] + 1


def test_parameters_are_described_as_what_they_are() -> None:
    info = NativeSparseAttention(16, num_heads=4, **SMALL).parameter_info()
    assert info["gate_proj.weight"].kind == "gate"
    assert info["key_compressor.places"].kind == "embedding"
    assert not info["value_compressor.places"].decay
    assert info["qkv_proj.weight"].row_blocks == (16, 4, 4, 4, 4, 4, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compress_stride": 3}, "compress_stride=3 must divide compress_block=4 and select_block=4"),
        ({"compress_block": 8}, "compress_block=8 must be at most select_block=4"),
        ({"num_selected": 2}, "num_selected=2 must be at least 1 \\+ local_blocks=3"),
        ({"softcap": 0.0}, "NativeSparseAttention: softcap must be above 0 and finite"),
        ({"window": 0}, "window must be 1 or more; given 4, 2, 4, 2, 0"),
        ({"num_kv_heads": 3}, "num_kv_heads=3 does not divide num_heads=4"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NativeSparseAttention(16, **{"num_heads": 4, **SMALL, **options})
