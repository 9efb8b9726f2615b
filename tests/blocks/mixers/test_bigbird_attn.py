from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import BigBirdConfig
from transformers.models.big_bird.modeling_big_bird import (
    BigBirdBlockSparseAttention,
    BigBirdModel,
    BigBirdSelfAttention,
)

from support.references import by_the_reference
from support.tensors import randomise
from ultra_blocks.config import UltraConfig
from ultra_blocks.encoder import Encoder
from ultra_blocks.hf import UltraForMaskedLM, UltraHFConfig
from ultra_blocks.layout import Layout
from ultra_blocks.mixers.bigbird_attn import BigBirdAttention
from ultra_blocks.reference.bigbird_attn import random_links
from ultra_blocks.testing import check_block
from ultra_blocks.testing.draws import Batch, batches

DRAWN = batches(rows=(1, 2), documents=(0, 3), paddings=("none", "left", "right", "inside"), longest=25)


def awake(module: nn.Module) -> nn.Module:
    return randomise(module, seed=0).double().eval()


@given(
    DRAWN,
    st.booleans(),
    st.sampled_from([(1, 0), (2, 2), (3, 1), (2, 3)]),
    st.booleans(),
    st.sampled_from([None, 0.5]),
)
def test_equals_the_paper_forward_and_all_gradients(
    batch: Batch, causal: bool, sizes: tuple[int, int], qk_norm: bool, softcap: float | None
) -> None:
    options: dict[str, Any] = {
        "num_heads": 2,
        "block_size": sizes[0],
        "random_blocks": sizes[1],
        "bias": True,
    }
    options |= {"qk_norm": qk_norm, "softcap": softcap}
    block = awake(BigBirdAttention(8, causal=causal, **options))
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


def copied(theirs: nn.Module, **options: int) -> BigBirdAttention:
    ours = BigBirdAttention(16, num_heads=2, positions="nope", bias=True, **options).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(0, 0.4)
        ours.out_proj.weight.copy_(torch.eye(16))
        ours.out_proj.bias.zero_()
        for name in ("weight", "bias"):
            parts = [getattr(getattr(theirs, part), name) for part in ("query", "key", "value")]
            getattr(ours.qkv_proj, name).copy_(torch.cat(parts))
    return ours


CONFIG = {"hidden_size": 16, "num_attention_heads": 2, "attention_probs_dropout_prob": 0.0}


def test_equals_the_full_attention_of_transformers_in_short_documents() -> None:
    torch.manual_seed(0)
    theirs = BigBirdSelfAttention(BigBirdConfig(**CONFIG)).eval()
    ours = copied(theirs, block_size=4, random_blocks=3)
    x = torch.randn(2, 28, 16)
    mask = torch.arange(28) < torch.tensor([[28], [18]])
    added = torch.where(mask, 0.0, torch.finfo(torch.float32).min)[:, None, None]
    wanted = theirs(x, attention_mask=added)[0]
    torch.testing.assert_close(ours(x, Layout.from_mask(mask))[mask], wanted[mask], rtol=0, atol=1e-5)


def test_equals_the_block_sparse_attention_of_transformers_with_the_same_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    size, drawn, count = 4, 2, 10
    config = BigBirdConfig(**CONFIG, block_size=size, num_random_blocks=drawn)
    theirs = BigBirdBlockSparseAttention(config, seed=0).eval()
    ours = copied(theirs, block_size=size, random_blocks=drawn)
    seed = int(ours.plan_seed)
    plan = [
        np.array([sorted(random_links(b, count, seed, h, drawn, causal=False)) for b in range(1, count - 1)])
        for h in range(2)
    ]
    monkeypatch.setattr(theirs, "_bigbird_block_rand_mask_with_head", lambda **_: plan)
    x = torch.randn(2, size * count, 16)
    blocked, band, of_query, of_key = BigBirdModel.create_masks_for_block_sparse_attn(
        torch.ones(2, size * count), size
    )
    wanted = theirs(x, band, of_query, of_key, blocked, blocked)[0]
    torch.testing.assert_close(ours(x), wanted, rtol=0, atol=1e-5)


def test_keeps_the_rules_where_rows_are_longer_than_the_blocks() -> None:
    options = {"block_size": 2, "random_blocks": 2}
    check_block("bigbird_attn", options=options, rules=["B1", "B1b", "B3", "B5", "B7", "B10", "B15", "B16"])
    bounded = {**options, "qk_norm": True, "softcap": 0.5}
    check_block("bigbird_attn", options=bounded, rules=["B1", "B5", "B7", "B16"])


def links(block: BigBirdAttention) -> Tensor:
    x = torch.randn(1, 64, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return block(x)


def test_random_links_never_change_and_take_nothing_from_the_generator() -> None:
    block = awake(BigBirdAttention(8, num_heads=2, block_size=2))
    before = torch.get_rng_state()
    first = links(block)
    torch.manual_seed(5)
    assert torch.equal(first, links(block))
    assert torch.equal(first, links(block.train()))
    block.reset_parameters()
    assert torch.equal(first, links(awake(block))), "new weights keep the links of the layer"
    torch.set_rng_state(before)
    links(block)
    assert torch.equal(torch.get_rng_state(), before)


def test_random_links_follow_the_seed_and_differ_between_layers() -> None:
    built = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        built.append(awake(BigBirdAttention(8, num_heads=2, block_size=2)))
    assert torch.equal(links(built[0]), links(built[1]))
    assert not torch.allclose(links(built[0]), links(built[2])), "all weights are equal, the links are not"
    config = UltraConfig(
        vocab_size=32, hidden_size=16, num_layers=3, num_heads=2, layer_pattern=["bigbird_attn"]
    )
    seeds = {int(layer.mixer.plan_seed) for layer in Encoder(config).layers}
    assert len(seeds) == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_random_links_survive_saving_and_loading(tmp_path: Path, dtype: torch.dtype) -> None:
    ultra = UltraConfig(
        vocab_size=32,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        layer_pattern=[{"bigbird_attn": {"block_size": 2}}],
    )
    model = UltraForMaskedLM(UltraHFConfig.from_ultra(ultra)).to(dtype).eval()
    model.save_pretrained(tmp_path)
    torch.manual_seed(99)
    loaded = UltraForMaskedLM.from_pretrained(tmp_path, dtype=dtype).eval()
    for a, b in zip(model.model.encoder.layers, loaded.model.encoder.layers, strict=True):
        assert a.mixer.plan_seed.dtype is b.mixer.plan_seed.dtype is torch.int64
        assert int(a.mixer.plan_seed) == int(b.mixer.plan_seed)
    ids = torch.randint(1, 32, (2, 60))
    assert torch.equal(model(ids).logits, loaded(ids).logits)


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("causal", [False, True])
def test_work_is_linear_and_no_loop_grows_with_the_length(
    watched, causal: bool, softcap: float | None
) -> None:
    block = BigBirdAttention(16, num_heads=2, causal=causal, block_size=16, softcap=softcap)
    (few, small), (many, large) = watched(block, 1024), watched(block, 2048)
    assert many == few
    assert large <= 2.1 * small


@pytest.mark.parametrize("bounds", [{}, {"softcap": 0.5, "qk_norm": True}])
def test_decoding_reads_the_links(bounds: dict[str, Any]) -> None:
    block = awake(BigBirdAttention(8, num_heads=2, causal=True, block_size=2, random_blocks=2, **bounds))
    x = torch.randn(2, 31, 8, dtype=torch.float64)
    whole, state = block(x), block.init_state(2)
    for t in range(31):
        y, state = block.step(x[:, t], state)
        torch.testing.assert_close(y, whole[:, t], rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_size": 0}, "block_size must be 1 or more; given 0"),
        ({"random_blocks": -1}, "random_blocks must be 0 or more; given -1"),
        ({"softcap": -1.0}, "BigBirdAttention: softcap must be above 0 and finite"),
        ({"num_heads": 3}, "num_heads=3 does not divide hidden_size=8"),
    ],
)
def test_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BigBirdAttention(8, **{"num_heads": 2, **options})
