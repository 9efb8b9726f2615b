from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import LongformerConfig
from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

from support.references import by_the_reference
from support.tensors import randomise
from ultra_blocks.layout import Layout
from ultra_blocks.mixers.longformer_attn import LongformerAttention
from ultra_blocks.testing import check_block
from ultra_blocks.testing.draws import Batch, batches

DRAWN = batches(rows=(1, 2), documents=(0, 3), paddings=("none", "left", "right", "inside"), longest=25)


def awake(module: nn.Module, seed: int = 0) -> nn.Module:
    return randomise(module, seed=seed).double().eval()


@given(
    DRAWN,
    st.booleans(),
    st.sampled_from([(1, 0), (4, 1), (5, 3), (9, 20), (40, 2)]),
    st.booleans(),
    st.sampled_from([None, 0.5]),
)
def test_equals_the_paper_forward_and_all_gradients(
    batch: Batch, causal: bool, sizes: tuple[int, int], qk_norm: bool, softcap: float | None
) -> None:
    options: dict[str, Any] = {"num_heads": 2, "window": sizes[0], "global_tokens": sizes[1], "bias": True}
    options |= {"qk_norm": qk_norm, "softcap": softcap}
    block = awake(LongformerAttention(8, causal=causal, **options))
    layout = batch.layout()
    x = batch.place(batch.tokens(8), layout, 8, 1.0).detach().requires_grad_()
    weight = torch.randn(x.shape, generator=batch.generator(5), dtype=x.dtype)
    leaves = [x, *block.parameters()]
    got, wanted = block(x, layout), by_the_reference(block, x, layout, **options)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    if wanted.requires_grad:
        ours, theirs = (
            torch.autograd.grad(y, leaves, weight, allow_unused=True, materialize_grads=True)
            for y in (got, wanted)
        )
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_equals_transformers(count: int) -> None:
    torch.manual_seed(0)
    config = LongformerConfig(
        hidden_size=16, num_attention_heads=2, attention_window=[8], attention_probs_dropout_prob=0.0
    )
    theirs = LongformerSelfAttention(config, 0).eval()
    ours = LongformerAttention(
        16, num_heads=2, window=8, global_tokens=count, positions="nope", bias=True
    ).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(0, 0.4)
        ours.out_proj.weight.copy_(torch.eye(16))
        ours.out_proj.bias.zero_()
        for name in ("weight", "bias"):
            local, apart = (
                [getattr(getattr(theirs, f"{part}{end}"), name) for part in ("query", "key", "value")]
                for end in ("", "_global")
            )
            getattr(ours.qkv_proj, name).copy_(torch.cat(local))
            if count:
                getattr(ours.global_q_proj, name).copy_(apart[0])
                getattr(ours.global_kv_proj, name).copy_(torch.cat(apart[1:]))
    x = torch.randn(2, 40, 16)  # transformers takes multiples of the window alone
    mask = torch.arange(40) < torch.tensor([[40], [27]])
    is_global = (torch.arange(40) < count).expand(2, -1)
    added = torch.where(mask, 0.0, -10000.0).masked_fill(is_global, 10000.0)
    (wanted,) = theirs(
        x,
        attention_mask=added,
        is_index_masked=added < 0,
        is_index_global_attn=is_global,
        is_global_attn=bool(count),
    )
    torch.testing.assert_close(ours(x, Layout.from_mask(mask))[mask], wanted[mask], rtol=0, atol=1e-5)


def test_keeps_the_rules_where_rows_are_longer_than_the_window() -> None:
    rules = ["B1", "B1b", "B3", "B5", "B7", "B10", "B16"]
    check_block("longformer_attn", options={"window": 4, "global_tokens": 2}, rules=rules)
    check_block("longformer_attn", options={"window": 3, "global_tokens": 0}, rules=["B5", "B7"])
    check_block("longformer_attn", options={"window": 4, "qk_norm": True, "softcap": 0.5}, rules=rules)


def test_a_window_and_no_more_is_seen() -> None:
    block = awake(LongformerAttention(8, num_heads=2, window=6, global_tokens=1))
    x = torch.randn(1, 30, 8, dtype=torch.float64, requires_grad=True)
    (seen,) = torch.autograd.grad(block(x)[0, 15].sum(), x)
    assert seen[0].abs().sum(-1).nonzero().flatten().tolist() == [0, *range(12, 19)]
    (seen,) = torch.autograd.grad(block(x)[0, 0].sum(), x)
    assert (seen[0].abs().sum(-1) > 0).all()


def test_windows_count_real_tokens() -> None:
    block = awake(LongformerAttention(8, num_heads=2, window=4, global_tokens=0))
    mask = torch.ones(1, 12, dtype=torch.bool)
    mask[0, 3:9] = False
    x = torch.randn(1, 12, 8, dtype=torch.float64, requires_grad=True)
    (seen,) = torch.autograd.grad(block(x, Layout.from_mask(mask))[0, 9].sum(), x)
    assert seen[0].abs().sum(-1).nonzero().flatten().tolist() == [1, 2, 9, 10, 11]


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("causal", [False, True])
def test_work_is_linear_and_no_loop_grows_with_the_length(
    watched, causal: bool, softcap: float | None
) -> None:
    block = LongformerAttention(16, num_heads=2, causal=causal, window=32, softcap=softcap)
    (few, small), (many, large) = watched(block, 1024), watched(block, 2048)
    assert many == few
    assert large <= 2.1 * small
    assert large < 2048**2 / 8


@pytest.mark.parametrize("bounds", [{}, {"softcap": 0.5, "qk_norm": True}])
def test_the_cache_holds_the_window_and_the_global_tokens(bounds: dict[str, Any]) -> None:
    block = awake(LongformerAttention(8, num_heads=2, causal=True, window=4, global_tokens=2, **bounds))
    x = torch.randn(2, 15, 8, dtype=torch.float64)
    state = block.init_state(2)
    for t in range(15):
        y, state = block.step(x[:, t], state)
        torch.testing.assert_close(y, block(x)[:, t], rtol=0, atol=1e-13)
    assert state.keys.shape == (2, 2, 7, 4)


def test_global_rows_have_projections_of_their_own_in_encoders_alone() -> None:
    apart = {"global_q_proj.weight", "global_kv_proj.weight"}
    encoder = LongformerAttention(8, num_heads=2)
    assert apart < set(encoder.state_dict())
    assert encoder.row_blocks() == {"qkv_proj.weight": (8, 8, 8), "global_kv_proj.weight": (8, 8)}
    for options in ({"causal": True}, {"global_tokens": 0}):
        assert not apart & set(LongformerAttention(8, num_heads=2, **options).state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 3}, "num_heads=3 does not divide hidden_size=8"),
        ({"window": 0}, "window must be 1 or more; given 0"),
        ({"global_tokens": -1}, "global_tokens must be 0 or more; given -1"),
        ({"softcap": 0.0}, "LongformerAttention: softcap must be above 0 and finite"),
        ({"softcap": float("inf")}, "softcap must be above 0 and finite"),
        ({"positions": "alibi"}, "cannot apply the position code ALiBi"),
    ],
)
def test_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LongformerAttention(8, **{"num_heads": 2, **options})
