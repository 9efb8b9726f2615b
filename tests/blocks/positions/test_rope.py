import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from ultra_blocks.layout import Layout
from ultra_blocks.positions.rope import RoPE
from ultra_blocks.reference import positions as reference


def shifted(layout: Layout, by: int) -> Layout:
    return Layout.from_mask(layout.mask, layout.documents, layout.positions + by)


@given(st.integers(1, 9), st.sampled_from([2, 6, 8]), st.booleans(), st.integers(0, 99))
def test_equals_the_rotation_matrices_of_the_paper(length: int, d: int, interleaved: bool, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    q = torch.randn(2, 3, length, d, dtype=torch.float64, generator=g).requires_grad_()
    k = torch.randn(2, 1, length, d, dtype=torch.float64, generator=g).requires_grad_()
    mask = torch.rand(2, length, generator=g) < 0.7
    layout = Layout.from_mask(mask)
    code = RoPE(d, base=500.0, interleaved=interleaved)
    got = code.rotate(q, k, layout)
    options = {"base": 500.0, "interleaved": interleaved}
    places = layout.positions.tolist()
    wanted = [
        torch.stack([reference.rotated(row, p, **options) for row, p in zip(x, places, strict=True)])
        for x in (q, k)
    ]
    real = mask[:, None, :, None]
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a * real, b * real, rtol=0, atol=1e-13)
    noise = [torch.randn(a.shape, dtype=torch.float64, generator=g) * real for a in got]
    ours = torch.autograd.grad(got, (q, k), noise)
    theirs = torch.autograd.grad(wanted, (q, k), noise)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


def test_equals_transformers() -> None:
    config = LlamaConfig(hidden_size=32, num_attention_heads=4, max_position_embeddings=64)
    q, k = torch.randn(2, 4, 50, 8), torch.randn(2, 4, 50, 8)
    positions = torch.arange(50)[None] + 3
    cos, sin = LlamaRotaryEmbedding(config)(q, positions)
    wanted = apply_rotary_pos_emb(q, k, cos, sin)
    mask = torch.ones(2, 50, dtype=torch.bool)
    got = RoPE(8).rotate(q, k, Layout.from_mask(mask, positions=positions.expand(2, 50)))
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-5)


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_linear_scaling_equals_transformers(factor: float) -> None:
    rope = {"rope_type": "linear", "factor": factor, "rope_theta": 500.0}
    config = LlamaConfig(
        hidden_size=32, num_attention_heads=4, max_position_embeddings=64, rope_parameters=rope
    )
    q, k = torch.randn(1, 4, 50, 8), torch.randn(1, 4, 50, 8)
    cos, sin = LlamaRotaryEmbedding(config)(q, torch.arange(50)[None])
    wanted = apply_rotary_pos_emb(q, k, cos, sin)
    got = RoPE(8, base=500.0, scaling=factor).rotate(q, k, Layout.full(1, 50))
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-5)
    assert (got[0] - RoPE(8, base=500.0).rotate(q, k, Layout.full(1, 50))[0]).abs().max() > 0.1


def test_two_scalings_in_one_model_share_no_table() -> None:
    q = torch.randn(1, 2, 9, 8)
    layout = Layout.full(1, 9)
    one, two = (RoPE(8, scaling=s).rotate(q, q, layout)[0] for s in (1.0, 2.0))
    assert not torch.equal(one, two)


@pytest.mark.parametrize("interleaved", [False, True])
def test_scores_depend_on_differences_and_norms_stay(interleaved: bool) -> None:
    q, k = torch.randn(1, 2, 9, 16), torch.randn(1, 2, 9, 16)
    code, layout = RoPE(16, interleaved=interleaved), Layout.full(1, 9)
    (q0, k0), (q1, k1) = code.rotate(q, k, layout), code.rotate(q, k, shifted(layout, 10_000))
    assert (q0 @ k0.mT - q1 @ k1.mT).abs().max() < 1e-5
    assert (q0.norm(dim=-1) - q.norm(dim=-1)).abs().max() < 1e-5


def test_positions_do_not_collapse_in_half_precision() -> None:
    x = torch.ones(1, 1, 600, 2, dtype=torch.bfloat16)
    turned, _ = RoPE(2).rotate(x, x, Layout.full(1, 600))
    exact, _ = RoPE(2).rotate(x.double(), x.double(), Layout.full(1, 600))
    assert turned.dtype is torch.bfloat16
    assert (turned.double() - exact).abs().max() < 2**-8 * 1.5


def test_tables_are_made_once_a_forward() -> None:
    layout = Layout.full(1, 4)
    x = torch.randn(1, 1, 4, 8)
    RoPE(8).rotate(x, x, layout)
    (key,) = layout.memo
    before = layout.memo[key]
    RoPE(8).rotate(x, x, layout)
    assert layout.memo[key] is before
    RoPE(8, base=5.0).rotate(x, x, layout)
    assert len(layout.memo) == 2


def test_refuses_odd_heads_and_bad_bases() -> None:
    with pytest.raises(ValueError, match="even width"):
        RoPE(7)
    with pytest.raises(ValueError, match="base must be above 0"):
        RoPE(8, base=0.0)
    with pytest.raises(ValueError, match="scaling must be above 0"):
        RoPE(8, scaling=0.0)
    assert "scaling=2" in repr(RoPE(8, scaling=2.0))
    assert "base=10000" in repr(RoPE(8))
