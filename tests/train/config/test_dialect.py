"""Files that people already have: every habit of theirs loads, says so once, and has one canonical form."""

from typing import Any

import pytest

from support.notices import notice
from ultra_blocks.config import UltraConfig
from ultra_core import blocks, optimizers
from ultra_core.contracts import SEED_ROLES
from ultra_core.plugins.signatures import read_options
from ultra_train.config import to_tree, to_yaml

BLOCKS = ["gla", "deltanet", "gated_deltanet", "hgrn2", "retnet", "mamba", "kda"]


def optimizer(name: str, **keys: Any) -> str:
    return f"training.optimizer={{optimizer_class: {name}, parameters: {keys}}}".replace("'", '"').replace(
        "True", "true"
    )


def test_a_family_file_of_every_optimizer(accepted, base):
    """``betas`` and ``eps`` of every role, as the family writes them whatever the optimizer is.

    The keys of every optimizer are in ``tests/optim/test_option_names.py``.
    """
    for name in ("adamw", "sgd_momentum", "lion", "adafactor", "adan", "ademamix", "scion"):
        keys = {f"{name}-lr_{role}": 1e-4 for role in SEED_ROLES}
        keys |= {f"{name}-betas_{role}": [0.9, 0.95] for role in SEED_ROLES}
        keys |= {f"{name}-eps_{role}": 1e-8 for role in SEED_ROLES}
        parameters = ", ".join(f"{key}: {value}" for key, value in keys.items())
        section = f"training.optimizer={{optimizer_class: {name}, parameters: {{{parameters}}}}}"
        preset = accepted(base, section, "training.scheduler_type=constant")
        options = read_options(optimizers.get(name))
        kept = preset.training.optimizer.parameters
        for option in ("betas", "eps"):
            key = f"{name}-{option}_norms"
            if option not in options:
                assert key not in kept
                assert key in notice(preset, "no effect in this run")
            elif isinstance(options[option].default, tuple) and len(options[option].default) > 2 - (
                option == "eps"
            ):
                assert f"{key} is {kept[key]}" in notice(preset, "completed values")
        if name in ("adan", "ademamix"):
            assert kept[f"{name}-betas_ode"] == [0.9, 0.95, options["betas"].default[2]]
        if name == "adafactor":
            assert kept["adafactor-eps_ode"] == [1e-8, 1e-3]


ROWS: list[tuple[str, dict[str, Any], dict[str, Any], str | None]] = [
    ("muon", {"ns_eps": 1e-7}, {"ns_eps": 1e-7}, None),
    ("turbo_muon", {"ns_eps": 1e-7}, {"ns_eps": 1e-7}, None),
    ("normuon", {"ns_eps": 1e-7}, {"ns_eps": 1e-7}, None),
    ("sophia", {"update_k": 10}, {"update_period": 10}, "sophia-update_k is sophia-update_period"),
    ("galore_adamw", {"update_proj_gap": 9}, {"update_interval": 9}, "is galore_adamw-update_interval"),
    ("apollo", {"update_proj_gap": 9}, {"update_interval": 9}, "is apollo-update_interval"),
    ("apollo_mini", {"update_proj_gap": 9}, {"update_interval": 9}, "is apollo_mini-update_interval"),
    *(
        (name, {"proj_type": "std", "disable_nl": True, "scale_front": True}, {}, None)
        for name in ("apollo", "apollo_mini", "apollo_8bit")
    ),
    ("adafactor", {"clip_threshold": 1.5}, {"d": 1.5}, "adafactor-clip_threshold is adafactor-d"),
    ("adafactor", {"eps1": 1e-20, "eps2": 0.01}, {"eps": [1e-20, 0.01]}, "adafactor-eps1 is adafactor-eps"),
    ("adafactor", {"beta2_decay": 0.8}, {"beta2_decay": -0.8}, None),
]


@pytest.mark.parametrize(("name", "given", "kept", "renaming"), ROWS)
def test_parameters_of_optimizers(accepted, base, name, given, kept, renaming):
    preset = accepted(base, optimizer(name, **{f"{name}-{key}": value for key, value in given.items()}))
    expected = {f"{name}-{key}": value for key, value in (kept or given).items()}
    assert preset.training.optimizer.parameters == expected
    if renaming:
        assert renaming in notice(preset, "other names")
    if name == "adafactor" and "beta2_decay" in given:
        assert "adafactor-beta2_decay is -0.8" in notice(preset, "completed values")


def test_a_clip_that_the_method_has_not(accepted, base):
    preset = accepted(base, optimizer("cautious_adamw", **{"cautious_adamw-cautious_clip": True}))
    assert preset.training.optimizer.parameters == {}
    assert "cautious_adamw-cautious_clip" in notice(preset, "no effect in this run")


def test_an_optimizer_by_its_other_name(accepted, base):
    keys = {"q_apollo-lr": 1e-3, "q_apollo-rank": 8, "q_apollo-update_proj_gap": 5, "q_apollo-lr_norms": 1e-4}
    preset = accepted(base, optimizer("q_apollo", **keys))
    assert preset.training.optimizer.optimizer_class == "apollo_8bit"
    assert preset.training.optimizer.parameters["apollo_8bit-update_interval"] == 5
    line = notice(preset, "other names")
    assert "q_apollo is apollo_8bit (its states are quantised, not the weights)" in line
    assert line.count("q_apollo-* is apollo_8bit-*") == 1


GALORE = (
    "training.optimizer={optimizer_class: galore_adamw, "
    "parameters: {galore_adamw-lr: 1e-4, galore_adamw-rank: 32}}"
)


def test_both_spellings_that_say_the_same(accepted, base, problems):
    assert accepted(base, "training.use_galore=false").training.optimizer.optimizer_class == "lion"
    preset = accepted(base, GALORE, "training.use_galore=true", "training.galore_rank=32",
                      "training.galore_scale=0.5")  # fmt: skip
    parameters = preset.training.optimizer.parameters
    assert parameters == {"galore_adamw-lr": 1e-4, "galore_adamw-rank": 32, "galore_adamw-scale": 0.5}
    assert "training.galore_scale is galore_adamw-scale" in notice(preset, "other names")
    assert accepted(base, GALORE, "training.use_galore=false", "training.galore_rank=8").notices


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["training.use_galore=true"], "training.use_galore"),
        ([GALORE, "training.use_galore=true", "training.galore_rank=8"], "training.galore_rank"),
        ([GALORE, "training.lr_norms=1e-3"], "training.lr_norms"),
    ],
)
def test_both_spellings_that_disagree(problems, base, overrides, key):
    (fault,) = problems(base, *overrides)
    assert fault.key == key
    assert "use one of the two" in fault.message


MODEL = """\
model_class: frankenstein
model: {vocab_size: 512, hidden_size: 64, num_layers: 2, num_heads: 4, retention_heads: 4, use_moe: false}
training: {lr_other: 1e-3}
"""


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_that_are_called_attention(accepted, name):
    preset = accepted(MODEL, f"model.layer_pattern=[{name}_attn, {{{name}_attn: {{}}}}, standard_attn]")
    assert preset.model.layer_pattern == (name, name, "standard_attn")
    assert f"model.layer_pattern {name}_attn is {name}" in notice(preset, "other names")
    assert f"{name}_attn" not in to_yaml(preset)


@pytest.mark.parametrize(
    ("given", "own"),
    [
        ("rope", "rope"),
        ("alibi", "alibi"),
        ("none", "nope"),
        ("learned", "learned"),
        ("sinusoidal", "sinusoidal"),
        ("{rope: {base: 500.0}}", {"rope": {"base": 500.0}}),
    ],
)
def test_positional_encoding(accepted, given, own):
    preset = accepted(MODEL, f"model.positional_encoding={given}")
    assert preset.model.positions == own
    assert "model.positional_encoding is positions" in notice(preset, "other names")
    assert "positional_encoding" not in to_yaml(preset)


def test_positional_encoding_of_titan(accepted):
    preset = accepted(MODEL, "model.layer_pattern=[titan_attn]", "model.positional_encoding=hope")
    assert preset.model.positions == "hope"


def test_a_key_by_two_names(problems):
    (fault,) = problems(MODEL, "model.positional_encoding=rope", "model.positions=rope")
    assert fault.key == "model.positional_encoding"
    assert "says the same as model.positions" in fault.message


def test_options_of_rope(accepted):
    preset = accepted(
        MODEL, "model.positional_encoding=rope", "model.rope_base=500", "model.rope_scaling=2.0"
    )
    assert preset.model.positions == {"rope": {"base": 500, "scaling": 2.0}}
    own = accepted(MODEL, "model.rope_scaling=1.0")
    assert own.model.rope_factor == 1.0
    idle = accepted(MODEL, "model.layer_pattern=[retnet]", "model.rope_base=500.0")
    assert "model.rope_base" in notice(idle, "no effect in this run")


@pytest.mark.parametrize(
    ("given", "ffn"),
    [
        ("swiglu", {"glu": {"activation": "silu"}}),
        ("geglu", {"glu": {"activation": "gelu"}}),
        ("gelu_tanh", {"mlp": {"activation": "gelu_tanh"}}),
        ("mish", {"mlp": {"activation": "mish"}}),
        ("Mish", {"mlp": {"activation": "mish"}}),
        ("relu6", {"mlp": {"activation": "relu6"}}),
    ],
)
def test_activations(accepted, given, ffn):
    assert accepted(MODEL, f"model.ffn_activation={given}").model.ffn == ffn
    assert accepted(MODEL, f"model.ffn_activation={given}", "model.use_moe=true").model.ffn == {
        "moe": {"expert": ffn}
    }


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("mode=decoder", "mode"),
        ("model.mode=decoder", "model.mode"),
        ("model_class=frankesteindecoder", "model_class"),
    ],
)
def test_decoders_are_refused(problems, override, key):
    (fault,) = problems(MODEL, override)
    assert fault.key == key
    assert "trains encoders" in fault.message
    assert "causal: true builds causal blocks" in fault.message


def test_an_encoder_may_say_that_it_is_one(accepted):
    assert "model.mode encoder" in notice(accepted(MODEL, "model.mode=encoder"), "other names")
    assert "mode" not in to_tree(accepted(MODEL, "mode=encoder"))


@pytest.mark.parametrize(
    ("name", "closest"), [("sparse_transformer_attn", "longformer_attn"), ("sparsek_attn", "nsa_attn")]
)
def test_blocks_that_are_not_there_name_the_closest(problems, name, closest):
    (fault,) = problems(MODEL, f"model.layer_pattern=[{name}]")
    assert f"The closest is '{closest}'" in fault.message


def test_what_is_built_is_what_the_name_says():
    config = UltraConfig(layer_pattern=("mamba_attn",), num_layers=1, hidden_size=64, use_moe=False)
    assert config.layers() == [("mamba", {})]
    assert blocks.get("mamba_attn") is blocks.get("mamba")


def test_settings_of_mlflow(load, sparse, minimal, later_tasks, problems):
    section = "mlflow={tracking_uri: 'http://x', experiment_name: e, tags: {a: b}}"
    named = load(sparse, section, "training.report_to=[tensorboard, mlflow]")
    assert (named.mlflow.experiment_name, named.mlflow.tags) == ("e", {"a": "b"})
    idle = load(minimal, section)
    assert "mlflow" in notice(idle, "no effect in this run")
    (fault,) = problems(minimal, "mlflow={tracking_url: x}")
    assert "Did you mean 'tracking_uri'" in fault.message
