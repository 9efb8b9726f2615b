import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.gqa_attn import GQAAttention
from ultra_blocks.mixers.standard_attn import StandardAttention


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_equals_llama(causal: bool, groups: int) -> None:
    config = LlamaConfig(
        hidden_size=32, num_attention_heads=4, num_key_value_heads=groups, attn_implementation="eager"
    )
    theirs = LlamaAttention(config, layer_idx=0).eval()
    ours = GQAAttention(32, num_heads=4, num_kv_heads=groups, causal=causal)
    parts = (theirs.q_proj, theirs.k_proj, theirs.v_proj)
    weights = {
        "qkv_proj.weight": torch.cat([p.weight for p in parts]),
        "out_proj.weight": theirs.o_proj.weight,
    }
    ours.load_state_dict(weights)
    x = torch.randn(2, 13, 32)
    mask = torch.ones(2, 13, dtype=torch.bool)
    mask[1, 9:] = False
    layout = Layout.from_mask(mask)
    seen = layout.attention_mask(causal).expand(2, 1, 13, 13)
    added = torch.zeros(2, 1, 13, 13).masked_fill(~seen, torch.finfo(torch.float32).min)
    tables = LlamaRotaryEmbedding(config)(x, torch.arange(13)[None])
    wanted, _ = theirs(x, position_embeddings=tables, attention_mask=added)
    with sdpa_kernel(SDPBackend.MATH):
        torch.testing.assert_close(ours(x, layout)[mask], wanted[mask], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"softcap": 2.0}, {"positions": "alibi"}, {"qk_norm": True, "window": 3}]
)
@pytest.mark.parametrize("causal", [False, True])
def test_equals_full_attention_with_repeated_key_heads(options: dict[str, object], causal: bool) -> None:
    torch.manual_seed(0)
    grouped = GQAAttention(24, num_heads=4, num_kv_heads=2, causal=causal, **options).double()
    full = StandardAttention(24, num_heads=4, causal=causal, **options).double()
    q, k, v = grouped.qkv_proj.weight.detach().split(grouped.heights)
    k, v = (w.view(2, 6, 24).repeat_interleave(2, 0).reshape(24, 24) for w in (k, v))
    weights = dict(grouped.state_dict()) | {"qkv_proj.weight": torch.cat([q, k, v])}
    full.load_state_dict(weights)
    x = torch.randn(2, 9, 24, dtype=torch.float64)
    layout = Layout.from_mask(torch.rand(2, 9) < 0.8)
    torch.testing.assert_close(grouped(x, layout), full(x, layout), rtol=0, atol=1e-14)


def test_the_cache_is_smaller_by_the_groups_and_decoding_is_exact() -> None:
    block = GQAAttention(32, num_heads=4, num_kv_heads=1, causal=True).double()
    x = torch.randn(2, 7, 32, dtype=torch.float64)
    state = block.init_state(2)
    for t in range(7):
        y, state = block.step(x[:, t], state)
        torch.testing.assert_close(y, block(x)[:, t], rtol=0, atol=1e-14)
    assert state.keys.shape == (2, 1, 7, 8)


@pytest.mark.parametrize(("heads", "groups"), [(8, 2), (4, 1), (6, 1), (12, 3), (2, 1)])
def test_default_key_heads(heads: int, groups: int) -> None:
    block = GQAAttention(24 * heads, num_heads=heads)
    assert block.num_kv_heads == groups
    assert block.row_blocks() == {"qkv_proj.weight": (24 * heads, 24 * groups, 24 * groups)}
    assert block.qkv_proj.weight.shape[0] == sum(block.heights)


def test_refuses_key_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="num_kv_heads=3 does not divide num_heads=4"):
        GQAAttention(32, num_heads=4, num_kv_heads=3)
