from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import DeepseekV3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import (
    DeepseekV3Attention,
    DeepseekV3RotaryEmbedding,
)

from support.references import by_the_reference
from support.tensors import randomise
from ultra_blocks.layout import Layout
from ultra_blocks.linear import BitLinear
from ultra_blocks.mixers.latent_attn import LatentAttention
from ultra_blocks.positions.hope import HoPE
from ultra_blocks.testing import Case, Rule, block_cases, pytest_params

OPTIONS = st.fixed_dictionaries(
    {
        "causal": st.booleans(),
        "positions": st.sampled_from(["rope", "nope", "learned"]),
        "query_latent_dim": st.sampled_from([None, 7]),
        "value_dim": st.sampled_from([None, 3, 11]),
        "window": st.sampled_from([None, 3]),
        "qk_norm": st.booleans(),
        "softcap": st.sampled_from([None, 1.5]),
    }
)


def build(**options: Any) -> LatentAttention:
    """A block whose parameters all have values at which an error shows."""
    block = LatentAttention(12, num_heads=2, **options).double().eval()
    return randomise(block)


@given(OPTIONS, st.integers(1, 6), st.sampled_from([0.6, 2.0]), st.booleans(), st.integers(0, 99))
def test_equals_the_paper_forward_and_backward(
    options: dict[str, Any], length: int, real: float, packed: bool, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    block = build(**options)
    mask = torch.rand(2, length, generator=g) < real
    documents = (torch.rand(2, length, generator=g) < 0.3).cumsum(1) if packed else None
    layout = Layout.from_mask(mask, documents)
    x = torch.randn(2, length, 12, generator=g, dtype=torch.float64).requires_grad_()
    leaves = [x, *(p for n, p in block.named_parameters() if not n.startswith("positions"))]
    noise = torch.randn(2, length, 12, generator=g, dtype=torch.float64)
    y, wanted = block(x, layout), by_the_reference(block, x, layout, num_heads=2, **options)
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-10)
    theirs = torch.autograd.grad(wanted, leaves, noise, materialize_grads=True)
    for a, b in zip(torch.autograd.grad(y, leaves, noise), theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("query_latent", [None, 10])
def test_equals_deepseek_v3(causal: bool, interleaved: bool, query_latent: int | None) -> None:
    heads, own, turned, value, latent = 4, 6, 4, 5, 9
    config = DeepseekV3Config(
        hidden_size=24,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        q_lora_rank=query_latent,
        kv_lora_rank=latent,
        qk_nope_head_dim=own,
        qk_rope_head_dim=turned,
        v_head_dim=value,
        rope_interleave=interleaved,
        attn_implementation="eager",
    )
    theirs = DeepseekV3Attention(config, layer_idx=0).eval()
    theirs.is_causal = causal
    ours = LatentAttention(
        24,
        num_heads=heads,
        causal=causal,
        positions={"rope": {"interleaved": interleaved}},
        latent_dim=latent,
        query_latent_dim=query_latent,
        head_dim=own,
        rope_dim=turned,
        value_dim=value,
    ).eval()

    def stacked(weight: Tensor, *widths: int) -> Tensor:
        """Their rows go head by head; ours are all heads of one part, then all of the next."""
        parts = weight.detach().unflatten(0, (heads, -1)).split(widths, 1)
        return torch.cat([part.flatten(0, 1) for part in parts])

    weights = {
        "kv_down_proj.weight": theirs.kv_a_proj_with_mqa.weight,
        "kv_norm.weight": theirs.kv_a_layernorm.weight,
        "kv_up_proj.weight": stacked(theirs.kv_b_proj.weight, own, value),
        "out_proj.weight": theirs.o_proj.weight,
    }
    if query_latent is None:
        weights["q_proj.weight"] = stacked(theirs.q_proj.weight, own, turned)
    else:
        weights |= {
            "q_down_proj.weight": theirs.q_a_proj.weight,
            "q_norm.weight": theirs.q_a_layernorm.weight,
            "q_proj.weight": stacked(theirs.q_b_proj.weight, own, turned),
        }
    ours.load_state_dict(weights)
    mask = torch.ones(2, 13, dtype=torch.bool)
    mask[1, 9:] = False
    layout, x = Layout.from_mask(mask), torch.randn(2, 13, 24)
    seen = layout.attention_mask(causal).expand(2, 1, 13, 13)
    added = torch.zeros(2, 1, 13, 13).masked_fill(~seen, torch.finfo(torch.float32).min)
    tables = DeepseekV3RotaryEmbedding(config)(x, torch.arange(13)[None])
    wanted, _ = theirs(x, position_embeddings=tables, attention_mask=added)
    torch.testing.assert_close(ours(x, layout)[mask], wanted[mask], rtol=0, atol=1e-5)


@given(OPTIONS, st.integers(1, 7))
def test_absorbed_decoding_equals_the_forward_pass_and_keeps_latents_alone(
    options: dict[str, Any], length: int
) -> None:
    block = build(**options | {"causal": True, "latent_dim": 5, "rope_dim": 4})
    x = torch.randn(2, length, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state, whole = block.init_state(2), block(x)
    for t in range(length):
        y, state = block.step(x[:, t], state)
        torch.testing.assert_close(y, whole[:, t], rtol=0, atol=1e-11)
    kept = length if block.window is None else min(length, block.window + 1)
    assert state.latents.shape == (2, kept, 5)
    assert state.rotated.shape == (2, kept, 4)
    assert sum(part.numel() for part in state[:2]) == 2 * kept * (5 + 4)  # r + d_r a token, whatever H is
    assert state.length == length
    if options["qk_norm"]:
        assert state.scales.shape == (2, 2, kept)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_decoding_never_makes_the_keys(monkeypatch: pytest.MonkeyPatch, qk_norm: bool) -> None:
    """With QK-norm it makes those of the new token, to know their size."""
    block = build(causal=True, qk_norm=qk_norm)
    made, whole = [], block._decompress

    def counted(latents: Tensor) -> tuple[Tensor, Tensor]:
        made.append(latents.shape[1])
        return whole(latents)

    monkeypatch.setattr(block, "_decompress", counted)
    state = block.init_state(1)
    for _ in range(3):
        _, state = block.step(torch.randn(1, 12, dtype=torch.float64), state)
    assert made == [1, 1, 1] * qk_norm


@pytest.mark.parametrize("qk_norm", [False, True])
def test_ternary_projections_decode_from_the_same_cache(qk_norm: bool) -> None:
    torch.manual_seed(0)
    block = LatentAttention(16, num_heads=2, causal=True, qk_norm=qk_norm, linear=BitLinear).double().eval()
    assert block.q_proj.row_blocks == block.query_heights
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    state, whole = block.init_state(2), block(x)
    for t in range(5):
        y, state = block.step(x[:, t], state)
        torch.testing.assert_close(y, whole[:, t], rtol=0, atol=1e-11)
    assert state.latents.shape == (2, 5, 4)


def test_norms_of_queries_and_keys_bound_the_scores() -> None:
    """Each is then as long as its gains say, whatever the weights: here 1, so scores stay below sqrt(d)."""
    block = build(qk_norm=True)
    with torch.no_grad():
        for norm in (block.query_norm, block.key_norm):
            norm.weight.fill_(1.0)
        for name in ("q_proj", "kv_down_proj", "kv_up_proj"):
            getattr(block, name).weight.mul_(1e3)
    block.train().record_logits(True)
    block(torch.randn(2, 9, 12, dtype=torch.float64))
    bound = (block.head_dim + block.rope_dim) ** 0.5
    largest = block.take_max_logits()
    assert largest is not None
    assert 0.3 * bound < float(largest.max()) < bound


def test_only_the_decoupled_part_knows_positions() -> None:
    block = build()
    x = torch.randn(1, 6, 12, dtype=torch.float64)
    order = torch.tensor([0, 3, 1, 5, 4, 2])
    assert not torch.allclose(block(x[:, order]), block(x)[:, order])
    with torch.no_grad():
        block.q_proj.weight[block.query_heights[0] :].zero_()
    torch.testing.assert_close(block(x[:, order]), block(x)[:, order])
    nope = build(positions="nope")
    torch.testing.assert_close(nope(x[:, order]), nope(x)[:, order])


def test_sizes_of_the_specification() -> None:
    with torch.device("meta"):
        plain = LatentAttention(1024, num_heads=16)
        narrow = LatentAttention(1024, num_heads=16, query_latent_dim=512)
    sizes = (plain.latent_dim, plain.head_dim, plain.rope_dim, plain.value_dim)
    assert sizes == (256, 64, 32, 64)
    counts = [sum(p.numel() for p in block.parameters()) for block in (plain, narrow)]
    assert counts == [3_440_640 + 256, 3_178_496 + 256 + 512]
    assert plain.row_blocks() == {
        "q_proj.weight": (1024, 512),
        "kv_down_proj.weight": (256, 32),
        "kv_up_proj.weight": (1024, 1024),
    }


def test_shifts_are_on_the_stream_alone() -> None:
    block = LatentAttention(16, num_heads=2, bias=True, query_latent_dim=4)
    shifted = {n for n, m in block.named_modules() if isinstance(m, nn.Linear) and m.bias is not None}
    assert shifted == {"q_down_proj", "kv_down_proj", "out_proj"}
    assert isinstance(LatentAttention(16, num_heads=2, bias=True).q_proj.bias, Tensor)


def test_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    for softcap in (None, 2.0):
        block = LatentAttention(8, num_heads=2, dropout=0.5, softcap=softcap)
        x = torch.randn(1, 6, 8)
        assert not torch.equal(block(x), block(x))
        block.eval()
        assert torch.equal(block(x), block(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 5}, "num_heads=5 does not divide hidden_size=12"),
        ({"latent_dim": 0}, "latent_dim must be 1 or more"),
        ({"query_latent_dim": 0}, "query_latent_dim must be 1 or more"),
        ({"rope_dim": 3}, "even width"),
        ({"window": 0}, "window must be 1 or more"),
        ({"softcap": -1.0}, "softcap must be above 0"),
        ({"positions": "alibi"}, "cannot apply the position code ALiBi of kind 'bias'"),
        ({"positions": HoPE}, "cannot apply the position code HoPE of kind 'scores'"),
    ],
)
def test_says_what_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LatentAttention(12, **({"num_heads": 2} | options))


BOUNDED = block_cases([LatentAttention], options={"qk_norm": True, "softcap": 0.5})


@pytest.mark.parametrize(("case", "rule"), pytest_params(BOUNDED, ["B1", "B3", "B5", "B7", "B16", "B21"]))
def test_conformance_with_bounded_scores(case: Case, rule: Rule) -> None:
    rule(case)


def test_widths_that_are_set_need_no_division() -> None:
    block = LatentAttention(12, num_heads=5, head_dim=4, rope_dim=2, value_dim=3)
    assert block(torch.randn(1, 4, 12)).shape == (1, 4, 12)


def test_an_encoder_has_no_decoding_state() -> None:
    with pytest.raises(ValueError, match="causal=True"):
        LatentAttention(8, num_heads=2).init_state(1)
