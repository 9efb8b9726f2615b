"""The shipped presets: complete, valid, what the table of the seeds says they are, and trainable."""

import attrs
import pytest
import torch

from support.profile import NIGHTLY
from ultra_blocks.hf import SpanishMoEBERT, UltraForMaskedLM, UltraHFConfig
from ultra_core import presets
from ultra_train.config import load_any, load_preset, to_yaml
from ultra_train.trainer.plugins import optimizer_builder

SEEDS = ("embbert", "frankenstein", "mini", "standard", "standard_hope", "tinybert")
NAMES = (*SEEDS, "es_small_cpu", "quickstart", "spanish_moe_bert")


def test_all_of_them_are_there():
    assert set(NAMES) <= set(presets.names())


@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid(name):
    preset = load_preset(name)
    assert preset.meta.summary
    assert preset.meta.vram
    assert preset.meta.stability
    assert not any(notice.startswith("no effect") for notice in preset.notices)


@pytest.mark.parametrize("name", NAMES)
def test_its_canonical_form_is_the_same_preset(name, tmp_path):
    preset = load_preset(name)
    path = tmp_path / f"{name}.yaml"
    path.write_text(to_yaml(preset), encoding="utf-8")
    assert load_any(path) == preset


TABLE = {
    "mini": {"hidden_size": 128, "num_layers": 4, "num_heads": 1, "factorized_embedding_dim": 16},
    "standard": {"hidden_size": 768, "num_layers": 12, "num_heads": 12, "ffn_hidden_size": 3072},
    "tinybert": {"hidden_size": 768, "num_layers": 6, "num_heads": 12, "ffn_hidden_size": 3072},
    "embbert": {"hidden_size": 128, "num_layers": 4, "embedding_conv_kernel": 32, "ffn_hidden_size": 512},
}


@pytest.mark.parametrize("name", TABLE)
def test_it_has_the_sizes_of_the_seeds(name):
    model = load_preset(name).model
    assert {field: getattr(model, field) for field in TABLE[name]} == TABLE[name]
    assert model.layer_pattern == ("standard_attn",)


def test_mini_uses_lamb_and_both_embeddings():
    preset = load_preset("mini")
    assert preset.model_class == "mini"
    assert preset.training.optimizer.optimizer_class == "lamb"
    assert preset.model.use_factorized_embedding
    assert preset.model.use_embedding_conv


def test_the_spanish_mixture_has_the_parameters_that_its_seed_says():
    """About 340 million: 342.86, of which the experts have 24 x 32 x 3 x 1024 x 88."""
    model = load_preset("spanish_moe_bert").model
    with torch.device("meta"):
        built = SpanishMoEBERT(UltraHFConfig.from_ultra(model, pad_token_id=0))
    layers = built.model.encoder.layers
    assert [type(layer.mixer).__name__ for layer in layers[:3]] == [
        "GQAAttention",
        "StandardAttention",
        "LatentAttention",
    ]
    assert (len(layers), model.num_heads, model.vocab_size, model.norm_type) == (
        24,
        16,
        50_000,
        "dynamic_tanh",
    )
    counts = {name: p.numel() for name, p in built.named_parameters()}
    experts = sum(count for name, count in counts.items() if ".experts." in name)
    assert experts == 24 * 32 * 3 * 1024 * 88
    attention = 8 * (2_621_440 + 4_194_304 + 3_440_640 + 256)  # the 256 are the norm of the latent
    norms, routers = 50 * (2 * 1024 + 1), 24 * 32 * 1024
    head = 1024 * 1024 + 1024 + 2 * 1024 + 1 + 50_000
    assert sum(counts.values()) == experts + attention + norms + routers + head + 50_000 * 1024
    assert sum(counts.values()) == pytest.approx(342.9e6, abs=0.05e6)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_it_takes_a_training_step_at_its_real_width(name):
    """With six layers, one turn of the longest pattern; with all of them in the nightly tests."""
    torch.manual_seed(0)
    preset = load_preset(name)
    layers = preset.model.num_layers if NIGHTLY else min(preset.model.num_layers, 6)
    config = attrs.evolve(preset.model, num_layers=layers)
    model = UltraForMaskedLM(UltraHFConfig.from_ultra(config, pad_token_id=0)).train()
    optimizer = optimizer_builder(preset.training)([model])
    input_ids = torch.randint(5, preset.model.vocab_size, (2, 24))
    attention_mask = torch.ones_like(input_ids)
    attention_mask[1, 17:] = 0
    labels = torch.where(torch.rand(input_ids.shape) < 0.3, input_ids, -100).where(attention_mask == 1, -100)
    before = [p.detach().sum() for p in model.parameters()]
    loss = model(input_ids=input_ids, attention_mask=attention_mask, labels=labels).loss
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), preset.training.grad_clip_max_norm)
    optimizer.step()
    assert loss.isfinite()
    assert norm.isfinite()
    assert norm > 0
    moved = [bool(p.detach().sum() != old) for p, old in zip(model.parameters(), before, strict=True)]
    assert sum(moved) > len(moved) / 2
    assert all(p.isfinite().all() for p in model.parameters())
