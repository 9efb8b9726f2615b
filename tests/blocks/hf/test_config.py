"""UltraHFConfig: one list of fields, files, and the packages that a model needs."""

import json

import attrs
import pytest
from transformers import AutoConfig, AutoModelForMaskedLM

from ultra_blocks.config import UltraConfig
from ultra_blocks.hf import UltraForMaskedLM, UltraHFConfig
from ultra_core.errors import PluginError


def config(**fields):
    small = {"vocab_size": 40, "hidden_size": 16, "num_layers": 2, "num_heads": 4, "retention_heads": 4}
    small |= {"ffn_hidden_size": 24, "max_positions": 32, "use_moe": False}
    return UltraConfig(**{**small, **fields})


def test_one_list_of_fields():
    theirs = UltraHFConfig()
    for field in attrs.fields(UltraConfig):
        assert getattr(theirs, field.name) == field.default
    assert theirs.to_ultra() == UltraConfig()


@pytest.mark.parametrize(
    "fields",
    [
        {
            "layer_pattern": ["standard_attn", {"gqa_attn": {"num_kv_heads": 2}}],
            "num_loops": 2,
            "use_bitnet": True,
        },
        {
            "use_factorized_embedding": True,
            "factorized_embedding_dim": 6,
            "use_embedding_conv": True,
            "norm_type": "derf",
        },
        {"norm_type": {"dynamic_tanh": {"alpha_init": {"mixer": 0.8, "ffn": 0.2}}}},
        {"tie_embeddings": False, "positions": "learned", "ffn": {"glu": {"bias": True}}},
    ],
)
def test_round_trip_through_a_file(fields, tmp_path):
    ours = config(**fields)
    UltraHFConfig.from_ultra(ours).save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, UltraHFConfig)
    assert loaded.to_ultra() == ours


def test_names_that_transformers_expects():
    theirs = UltraHFConfig.from_ultra(config(tie_embeddings=False))
    assert (theirs.num_hidden_layers, theirs.num_attention_heads, theirs.intermediate_size) == (2, 4, 24)
    assert (theirs.max_position_embeddings, theirs.tie_word_embeddings) == (32, False)


def test_packages_are_recorded(tmp_path):
    UltraHFConfig.from_ultra(config(positions="alibi")).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    names = {(p["kind"], p["name"], p["distribution"]) for p in saved["plugins"]}
    assert names == {
        ("block", "standard_attn", "ultra-blocks"),
        ("norm", "layer_norm", "ultra-blocks"),
        ("ffn", "mlp", "ultra-blocks"),
        ("position code", "alibi", "ultra-blocks"),
    }
    assert all(p["version"] for p in saved["plugins"])


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ({"kind": "block", "name": "hyena", "distribution": "ultra-hyena", "version": "1.2"},
         'pip install "ultra-hyena==1.2"'),
        ({"kind": "block", "name": "retnet", "distribution": "other-retnet", "version": "2.0"},
         "offered here by ultra-blocks, which is another one"),
        ({"kind": "ffn", "name": "mine", "distribution": "local", "version": ""},
         "add it again before loading"),
    ],
)  # fmt: skip
def test_a_missing_package_is_named(tmp_path, plugin, message):
    UltraForMaskedLM(UltraHFConfig.from_ultra(config())).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    saved["plugins"].append(plugin)
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(PluginError) as caught:
        AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert message in str(caught.value)
