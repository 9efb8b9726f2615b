"""The Spanish presets with architectures of ours: what they are built of, at full size without memory."""

import pytest
import torch

from ultra_blocks.config import split_spec
from ultra_blocks.hf import UltraForMaskedLM, UltraHFConfig
from ultra_blocks.linear import BitLinear
from ultra_core import blocks, ffns, norms, optimizers, presets
from ultra_train.config import load_preset
from ultra_train.trainer.plugins import optimizer_builder

NAMES = [name for name in presets.names() if name.startswith("es_arch_")]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_built_of_the_parts_in_its_name(name):
    preset = load_preset(name)
    config, optimizer = preset.model, preset.training.optimizer
    assert name.endswith(f"_{optimizer.optimizer_class}")
    with torch.device("meta"):
        model = UltraForMaskedLM(UltraHFConfig.from_ultra(config, pad_token_id=0))
    layers, encoder = model.model.encoder.layers, model.model.encoder
    pattern = [blocks.get(split_spec(spec)[0]) for spec in config.layer_pattern]
    assert [type(layer.mixer) for layer in layers] == [pattern[i % len(pattern)] for i in range(len(layers))]
    assert len(layers) % len(pattern) == 0, "the pattern runs through whole"
    assert type(encoder.norm) is norms.get(config.norm_type)
    assert type(layers[0].ffn) is ffns.get("moe" if "_moe_" in name else "mlp")
    assert any(isinstance(m, BitLinear) for m in model.modules()) == ("_bitnet_" in name)
    factorized = encoder.embeddings.projection is not None
    assert factorized == ("_factorized_" in name or "_mini_" in name)
    if name == "es_arch_standard_layer_norm_prodigy":
        build = optimizer_builder(preset.training)  # that of one role rate checks how it is read
        assert type(build([model])) is optimizers.get("prodigy")


@pytest.mark.parametrize("name", [n for n in NAMES if "titan" in n])
def test_only_those_with_hope_in_their_name_or_pattern_have_hope(name):
    config = load_preset(name).model
    assert config.use_hope is ("dynamic_tanh" not in name)
