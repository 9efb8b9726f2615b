from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import BertConfig, ModernBertConfig
from transformers.models.bert.modeling_bert import BertSelfAttention
from transformers.models.modernbert.modeling_modernbert import ModernBertAttention, ModernBertRotaryEmbedding

from support.references import by_the_reference
from support.tensors import randomise
from ultra_blocks.layout import Layout
from ultra_blocks.linear import BitLinear
from ultra_blocks.mixers.standard_attn import StandardAttention
from ultra_blocks.positions import PositionCode

OPTIONS = st.fixed_dictionaries(
    {
        "causal": st.booleans(),
        "positions": st.sampled_from(["rope", "alibi", "nope", "learned"]),
        "qk_norm": st.booleans(),
        "window": st.sampled_from([None, 1, 3]),
        "softcap": st.sampled_from([None, 1.5]),
        "bias": st.booleans(),
    }
)


@given(OPTIONS, st.integers(1, 9), st.sampled_from([0.6, 2.0]), st.booleans(), st.integers(0, 99))
def test_equals_the_paper_forward_and_backward(
    options: dict[str, Any], length: int, real: float, packed: bool, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    block = randomise(StandardAttention(12, num_heads=2, **options).double())
    mask = torch.rand(2, length, generator=g) < real
    documents = (torch.rand(2, length, generator=g) < 0.3).cumsum(1) if packed else None
    layout = Layout.from_mask(mask, documents)
    x = torch.randn(2, length, 12, generator=g, dtype=torch.float64).requires_grad_()
    leaves = [x, *(p for n, p in block.named_parameters() if not n.startswith("positions"))]
    noise = torch.randn(2, length, 12, generator=g, dtype=torch.float64)
    y, wanted = block(x, layout), by_the_reference(block, x, layout, num_heads=2, **options)
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-11)
    ours = torch.autograd.grad(y, leaves, noise)
    theirs = torch.autograd.grad(wanted, leaves, noise, materialize_grads=True)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@given(OPTIONS, st.integers(1, 9))
def test_decoding_equals_the_forward_pass(options: dict[str, Any], length: int) -> None:
    options["causal"] = True
    block = randomise(StandardAttention(12, num_heads=2, **options).double()).eval()
    x = torch.randn(2, length, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = block.init_state(2)
    for t in range(length):
        y, state = block.step(x[:, t], state)
        torch.testing.assert_close(y, block(x)[:, t], rtol=0, atol=1e-11)
    kept = length if block.window is None else min(length, block.window + 1)
    assert state.keys.shape == state.values.shape == (2, 2, kept, 6)


@pytest.mark.parametrize("local", [False, True])
def test_equals_modernbert(local: bool) -> None:
    kinds = ["sliding_attention" if local else "full_attention"]
    config = ModernBertConfig(
        hidden_size=24,
        num_attention_heads=3,
        num_hidden_layers=1,
        local_attention=4,
        attn_implementation="eager",
        layer_types=kinds,
    )
    theirs = ModernBertAttention(config, layer_idx=0).eval()
    base = config.rope_parameters[kinds[0]]["rope_theta"]
    ours = StandardAttention(
        24, num_heads=3, positions={"rope": {"base": base}}, window=4 if local else None
    ).eval()
    ours.load_state_dict({"qkv_proj.weight": theirs.Wqkv.weight, "out_proj.weight": theirs.Wo.weight})
    x = torch.randn(2, 17, 24)
    mask = torch.ones(2, 17, dtype=torch.bool)
    mask[1, 11:] = False
    layout = Layout.from_mask(mask)
    seen = layout.attention_mask(window=4 if local else None)
    added = torch.zeros(2, 1, 17, 17).masked_fill(~seen, torch.finfo(torch.float32).min)
    tables = ModernBertRotaryEmbedding(config)(x, torch.arange(17)[None], kinds[0])
    wanted, _ = theirs(x, position_embeddings=tables, attention_mask=added)
    with sdpa_kernel(SDPBackend.MATH):
        torch.testing.assert_close(ours(x, layout)[mask], wanted[mask], rtol=0, atol=1e-5)


def test_equals_bert() -> None:
    config = BertConfig(hidden_size=24, num_attention_heads=4, attn_implementation="eager")
    theirs = BertSelfAttention(config).eval()
    dense = nn.Linear(24, 24)
    ours = StandardAttention(24, num_heads=4, positions="learned", bias=True, dropout=0.1).eval()
    parts = (theirs.query, theirs.key, theirs.value)
    weights = {
        "qkv_proj.weight": torch.cat([p.weight for p in parts]),
        "qkv_proj.bias": torch.cat([p.bias for p in parts]),
        "out_proj.weight": dense.weight,
        "out_proj.bias": dense.bias,
    }
    ours.load_state_dict(weights, strict=False)
    x = torch.randn(2, 9, 24)
    torch.testing.assert_close(ours(x), dense(theirs(x)[0]), rtol=0, atol=1e-5)


def test_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    block = StandardAttention(8, num_heads=2, dropout=0.5)
    x = torch.randn(1, 6, 8)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


class Closer(PositionCode):
    """A code of kind "scores" as a plugin may bring one: scores fade with the distance."""

    kind = "scores"

    def scores(self, q: Tensor, k: Tensor, layout: Layout) -> Tensor:
        positions = layout.positions.to(q.dtype)
        distance = (positions[:, None, :, None] - positions[:, None, None, :]).abs()
        return (q @ k.mT) * torch.exp(-0.1 * distance)


def test_takes_codes_that_make_the_scores() -> None:
    block = randomise(StandardAttention(8, num_heads=2, positions=Closer, causal=True).double())
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    state = block.init_state(2)
    whole = block(x)
    for t in range(5):
        y, state = block.step(x[:, t], state)
        torch.testing.assert_close(y, whole[:, t], rtol=0, atol=1e-12)


class Odd(PositionCode):
    kind = "odd"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 5}, "num_heads=5 does not divide hidden_size=12"),
        ({"num_heads": 0}, "does not divide"),
        ({"num_heads": 4}, "even width"),
        ({"window": 0}, "window must be 1 or more"),
        ({"softcap": 0.0}, "softcap must be above 0"),
        ({"dropout": 1.0}, "below 1"),
        ({"positions": Odd}, "cannot apply the position code Odd of kind 'odd'"),
    ],
)
def test_says_what_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StandardAttention(12, **({"num_heads": 2} | options))


def test_an_encoder_has_no_decoding_state() -> None:
    block = StandardAttention(8, num_heads=2)
    with pytest.raises(ValueError, match="causal=True"):
        block.init_state(1)


def test_describes_its_parameters() -> None:
    block = StandardAttention(8, num_heads=2, qk_norm=True, bias=True)
    info = block.parameter_info()
    assert info["qkv_proj.weight"].row_blocks == (8, 8, 8)
    assert {i.role for i in info.values()} == {"attention"}
    assert not info["out_proj.bias"].decay
    assert not any("norm" in name for name in info)
    assert block.q_norm is not None
    assert block.q_norm.parameter_info()["weight"].role == "norms"


def test_first_weights_and_the_linear_factory() -> None:
    torch.manual_seed(0)
    block = StandardAttention(64, num_heads=2, linear=BitLinear, qk_norm=True)
    assert block.qkv_proj.row_blocks == (64, 64, 64)
    block.reset_parameters(std=0.1, residual_scale=0.25)
    assert abs(block.qkv_proj.weight.std() - 0.1) < 0.005
    assert abs(block.out_proj.weight.std() - 0.025) < 0.002
    assert block.q_norm is not None
    assert (block.q_norm.weight == 1).all()


@pytest.mark.parametrize("causal", [False, True])
def test_a_window_that_no_pair_exceeds_needs_no_mask(causal: bool) -> None:
    block = StandardAttention(8, num_heads=2, window=6, causal=causal)
    short, long = Layout.full(1, 7 if causal else 4), Layout.full(1, 8 if causal else 5)
    block(torch.randn(1, short.mask.shape[1], 8), short)
    block(torch.randn(1, long.mask.shape[1], 8), long)
    made = [any(key[0] == "pairs" for key in layout.memo) for layout in (short, long)]
    assert made == [False, True]
