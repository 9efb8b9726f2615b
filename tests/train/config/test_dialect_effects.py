"""What of these files has an effect is said as it is, whichever spelling it has."""

import json

import jsonschema
import pytest

from ultra_core.config import ConfigError, parse_source
from ultra_train.config import load_any, to_yaml
from ultra_train.config.schema import preset_schema

IDLE = "no effect in this run: "


def idle(preset):
    """Return the keys of the notice about keys without effect."""
    return [key for line in preset.notices if line.startswith(IDLE) for key in line[len(IDLE) :].split(", ")]


@pytest.mark.parametrize(
    ("overrides", "keys"),
    [
        (["layer_pattern=[{standard_attn: {positions: hope}}]", "hope_base=500.0"], []),
        (["layer_pattern=[{standard_attn: {positions: none}}]", "rope_base=500.0"], ["rope_base"]),
        (["layer_pattern=[{standard_attn: {positions: {rope: {base: 9}}}}]", "rope_base=7"], ["rope_base"]),
        (["layer_pattern=[{standard_attn: {positions: alibi}}]", "positions=rope"], ["positions"]),
        (
            ["layer_pattern=[retnet]", "retention_heads=4", "positional_encoding=rope"],
            ["num_heads", "positions"],
        ),
        (["layer_pattern=[retnet]", "retention_heads=4", "positions=learned"], ["num_heads"]),
        (["positions=learned", "rope_base=500"], ["rope_base"]),
        (["use_hope=true"], ["use_hope"]),
        (["layer_pattern=[titan_attn]", "use_hope=true"], []),
        (["positions=hope", "use_hope=true"], []),
        (["layer_pattern=[{gqa_attn: {num_kv_heads: 2}}]", "num_kv_heads=1"], ["num_kv_heads"]),
    ],
)
def test_fields_of_the_model(load, minimal, overrides, keys):
    said = any("use_hope" in override for override in overrides)
    text = minimal if said else minimal.replace("  use_hope: false\n", "")
    preset = load(text, *(f"model.{override}" for override in overrides))
    assert idle(preset) == [f"model.{key}" for key in keys]


@pytest.mark.parametrize("spelling", ["parameters", "flat"])
def test_roles_that_a_base_model_has_not(load, base, tmp_path, spelling):
    overrides = ["training.optimizer=", "training.lr_ode=1e-3", "training.lr_norms=1e-4"]
    key = "training.lr_ode"
    if spelling == "parameters":
        overrides = ["training.optimizer.parameters.lion-lr_retnet=1e-3"]
        key = "training.optimizer.parameters.lion-lr_retnet"
    assert idle(load(base, *overrides)) == [key]
    for content, keys in (
        ({"model_type": "bert"}, [key]),
        ({"model_type": "ultra"}, []),
        ({"model_type": "x", "auto_map": {}}, []),
    ):
        (tmp_path / "config.json").write_text(json.dumps(content))
        there = [f"{place}={tmp_path}" for place in ("base_model", "tokenizer.name_or_path")]
        assert idle(load(base, *there, *overrides)) == keys


def test_a_key_is_named_once(load, minimal):
    keys = "{sgd_momentum-lr: 1e-3, sgd_momentum-betas_ode: [0.9, 0.95], sgd_momentum-eps_ode: 1e-8}"
    preset = load(minimal, f"training.optimizer={{optimizer_class: sgd_momentum, parameters: {keys}}}")
    found = idle(preset)
    assert len(found) == len(set(found)) == 2


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("wandb", ("wandb",)),
        ("none", ("none",)),
        ("all", ("all",)),
        ("null", ()),
        ("[]", ()),
        ("[a, b]", ("a", "b")),
    ],
)
def test_report_to(load, minimal, sparse, later_tasks, given, meant):
    for text in (minimal, sparse):
        preset = load(text, f"training.report_to={given}")
        assert preset.training.report_to == meant
        assert load(to_yaml(preset)) == preset
        tree = parse_source(text, [f"training.report_to={given}"]).tree
        assert list(jsonschema.Draft202012Validator(preset_schema()).iter_errors(tree)) == []


@pytest.mark.parametrize(
    ("text", "override", "path", "value"),
    [
        ("sophia", "training.optimizer.parameters.sophia-update_period=7", "sophia-update_period", 7),
        ("sophia", "training.optimizer.parameters.sophia-update_period=", "sophia-update_period", None),
        ("sophia", "training.optimizer.parameters.sophia-update_k=", "sophia-update_period", None),
        ("sophia", "training.optimizer.parameters.sophia-weight_decay=0.2", "sophia-weight_decay", 0.2),
        ("q_apollo", "training.optimizer.parameters.apollo_8bit-lr=0.5", "apollo_8bit-lr", 0.5),
    ],
)
def test_overrides_of_parameters_by_their_own_names(tmp_path, base, text, override, path, value):
    file = base.replace("optimizer_class: lion", "optimizer_class: sophia").replace(
        "{lion-lr: 1e-4}", "{sophia-update_k: 5, sophia-wd: 0.1}"
    )
    if text == "q_apollo":
        file = base.replace("lion\n", "q_apollo\n").replace("lion-lr", "q_apollo-lr")
    (tmp_path / "preset.yaml").write_text(file)
    parameters = load_any(tmp_path / "preset.yaml", [override]).training.optimizer.parameters
    assert parameters.get(path) == value
    assert len(parameters) == (1 if value is None or text == "q_apollo" else 2)


@pytest.mark.parametrize("override", ["positions=alibi", "positional_encoding=alibi", "positions="])
def test_overrides_of_the_model_by_its_own_names(tmp_path, minimal, override):
    (tmp_path / "preset.yaml").write_text(
        minimal.replace("model:\n", "model:\n  positional_encoding: rope\n")
    )
    preset = load_any(tmp_path / "preset.yaml", [f"model.{override}"])
    assert preset.model.positions == ("alibi" if "alibi" in override else None)


@pytest.mark.parametrize("mode", ["ENCODER", "Encoder", "encoder", "null"])
def test_an_encoder_is_one_in_any_case(load, minimal, mode):
    preset = load(minimal, f"mode={mode}", f"model.mode={mode}")
    assert preset.model is not None
    tree = parse_source(minimal, [f"mode={mode}", f"model.mode={mode}"]).tree
    assert list(jsonschema.Draft202012Validator(preset_schema()).iter_errors(tree)) == []


@pytest.mark.parametrize("mode", ["[decoder]", "{a: b}", "7", "decoder", "[" + "x, " * 5000 + "x]"])
def test_other_modes_are_shown_as_they_are_written(problems, minimal, mode):
    (fault,) = problems(minimal, f"mode={mode}")
    assert fault.key == "mode"
    assert "Node" not in fault.message
    assert len(fault.message) < 200


def test_texts_that_nothing_names(load, minimal):
    (line,) = load(minimal.replace("  dataset: ultra:es-commands\n", "")).notices
    assert line.startswith("training.dataset is not set")
    assert "ultra:es-commands" in line
    assert load(minimal).notices == ()


@pytest.mark.parametrize("value", ["hard_swish", "Gelu_New", "SwiGLU", "LeakyReLU", "GEGLU", "SILU"])
def test_activations_are_as_the_schema_says(load, minimal, value):
    validator = jsonschema.Draft202012Validator(preset_schema())
    overrides = [f"model.ffn_activation={value}"]
    overrides += [f"model.ffn={{mlp: {{activation: {value}}}}}"] if "GLU" not in value.upper() else []
    for override in overrides:
        assert load(minimal, override)
        assert list(validator.iter_errors(parse_source(minimal, [override]).tree)) == []
    for wrong in (f"model.ffn_activation={value}x", f"model.ffn={{mlp: {{activation: {value}x}}}}"):
        assert list(validator.iter_errors(parse_source(minimal, [wrong]).tree)) != []
        with pytest.raises(ConfigError):
            load(minimal, wrong)


def test_a_flat_key_beside_a_section_is_blamed_itself(problems, base):
    section = "{optimizer_class: galore_adamw, parameters: {galore_adamw-lr: 1e-4}}"
    (fault,) = problems(
        base, f"training.optimizer={section}", "training.use_galore=true", "training.galore_scale=0"
    )
    assert fault.key == "training.galore_scale"
    assert "expected a number > 0" in fault.message


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("model.layer_pattern=[TITAN_ATTN]", "Did you mean 'titan_attn'?"),
        ("model.norm_type=RMSNorm", "Did you mean 'rms_norm'?"),
        ("model.ffn=Swi_GLU", "Did you mean 'swiglu'?"),
        ("training.optimizer.optimizer_class=AdamW", "Did you mean 'adamw'?"),
        ("training.optimizer.optimizer_class=MUON", "Did you mean 'muon'? 'MUON' cannot name an optimizer"),
        ("training.positional_encoding=rope", "did you mean model.positional_encoding?"),
        ("rope_scaling=1", "did you mean model.rope_scaling?"),
        ("training.optimizer.name=lion", "did you mean training.optimizer.optimizer_class?"),
        ("training.optimizer.type=lion", "did you mean training.optimizer.optimizer_class?"),
        ("training.sbert={dataset_name: x/y, use_fp16: true}", "did you mean training.sbert.use_amp?"),
    ],
)
def test_what_is_meant(problems, minimal, override, meant):
    assert meant in problems(minimal, override)[0].message


@pytest.mark.parametrize("key", ["lion-lr: .nan", "lion-lr: .inf"])
def test_what_is_no_number_is_one_fault(problems, base, key):
    assert len(problems(base.replace("lion-lr: 1e-4", key))) == 1
    assert len(problems(base, "training.mlm_probability=.nan")) == 1


def test_a_list_of_thousands_is_not_shown_whole(tmp_path, minimal):
    text = minimal.replace("adamw-lr: 1e-3", f"adamw-lr: [{', '.join(['1.5'] * 20_000)}]")
    (tmp_path / "preset.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_any(tmp_path / "preset.yaml")
    assert len(str(caught.value)) < 2000
    assert "expected a number >= 0" in str(caught.value)


def test_sections_with_nothing_under_them(load, sparse, minimal, later_tasks):
    empty = "router:\nevaluation:\nhardware:\nmodel_card:\nmeta:\n"
    assert load(sparse + empty) == load(sparse)
    again = load(minimal + "meta:\n", "training.mask_policy=", "training.optimizer.parameters=")
    assert again.training.optimizer.parameters == {}
    assert again.training.mask_policy.policy == "token"
    validator = jsonschema.Draft202012Validator(preset_schema())
    for text in (sparse + empty, minimal + "meta:\n"):
        assert list(validator.iter_errors(parse_source(text).tree)) == []
