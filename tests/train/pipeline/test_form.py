"""Pipelines as files: what they mean, and every fault with its place before anything runs."""

import pytest

from ultra_core.config import parse_source
from ultra_core.errors import ConfigError
from ultra_train.cli.app import main
from ultra_train.config import from_source, load_any, load_preset, to_yaml
from ultra_train.pipeline.steps import Step

MINIMAL = """\
pipeline:
  first:
    preset: quickstart
  second:
    base: first
    tokenizer: {use_fast: true}
    training: {optimizer: {optimizer_class: lion, parameters: {lion-lr: 1e-4}}}
"""


def load(text, *overrides):
    return from_source(parse_source(text, overrides, file="p.yaml"), "p")


def refused(text, *overrides):
    with pytest.raises(ConfigError) as caught:
        load(text, *overrides)
    return str(caught.value)


def test_steps_begin_with_the_presets_that_they_name():
    made = load(MINIMAL, "pipeline.first.training.seed=7")
    first, second = made.steps
    assert (first.name, first.base) == ("first", None)
    loaded = first.load()
    assert (loaded.training.seed, loaded.training.mlm_probability) == (7, 0.2)
    assert (second.name, second.base) == ("second", "first")


def test_the_model_of_a_step_is_the_base_model_of_another_and_its_tokenizer(tmp_path):
    _, second = load(MINIMAL).steps
    assert second.load(tmp_path).base_model == str(tmp_path)
    assert second.load(tmp_path).tokenizer.name_or_path == str(tmp_path)
    sparse = parse_source("model: {architecture: splade}")
    assert Step("s", sparse, "first").base_keys == (("model", "base_model"),)


def test_overrides_of_one_step_and_of_all():
    made = load(MINIMAL, "training.seed=5", "first.training.seed=6", "first.training.batch_size=3")
    first, second = (step.load() for step in made.steps)
    assert (first.training.seed, first.training.batch_size) == (6, 3)
    assert second.training.seed == 5


def test_the_canonical_form_loads_to_the_same():
    made = load(MINIMAL)
    again = load(to_yaml(made))
    assert to_yaml(again) == to_yaml(made)
    assert [step.base for step in again.steps] == [None, "first"]
    assert "base_model" not in made.to_tree()["pipeline"]["second"]


def test_every_fault_has_its_place(tmp_path):
    named = tmp_path / "named.yaml"
    named.write_text(
        "model_class: mini\ntraining:\n  batch_size: none\n  optimizer: {optimizer_class: lion}\n"
    )
    text = f"pipeline:\n  a: {{preset: {named}}}\n  b:\n    preset: quickstart\n    training: {{seeed: 1}}\n"
    said = refused(text, "b.model.dropout=3")
    assert f"{named}:3:15: pipeline.a.training.batch_size: expected" in said
    assert "p.yaml:5:16: pipeline.b.training.seeed: unknown key. Did you mean 'seed'" in said
    assert "--set b.model.dropout: pipeline.b.model.dropout: expected a number" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pipeline: {}", "p.yaml:1:11: pipeline: has no steps"),
        ("pipeline: {a: {preset: quickstart}, b: {preset: quickstart, base: c}}", "no step 'c' before b"),
        ("pipeline: {a: {preset: quickstart, base: b}, b: {preset: quickstart}}", "one before it"),
        ("pipeline: {A b: {preset: quickstart}}", "cannot name a step"),
        ("pipeline: {training: {preset: quickstart}}", "cannot name a step"),
        ("pipeline: {a: {preset: quickstrt}}", "p.yaml:1:24: pipeline.a.preset: unknown preset 'quickstrt'"),
        ("pipeline: {a: {preset: [1]}}", "expected a name, found [1]"),
        ("pipeline: {a: quickstart}", "expected a mapping"),
        (
            "pipeline: {a: {preset: quickstart}}\nevaluation: {data: here, models: [a, b]}",
            "p.yaml:2:38: evaluation.models[1]: there is no step 'b'",
        ),
        ("pipeline: {a: {pipeline: {b: {preset: quickstart}}}}", "cannot be a step of another"),
        ("pipeline: {a: {preset: quickstart}}\nmodel: {dropout: 0}", "keys of a step follow its name: a."),
    ],
)
def test_faults_of_the_pipeline(text, message):
    assert message in refused(text)


def test_notices_name_their_step_and_models_stay_in_their_steps(tmp_path):
    made = load(MINIMAL, "first.training.hf_output_dir=elsewhere")
    assert "first: training.hf_output_dir has no effect in a pipeline" in " ".join(made.notices)
    assert made.steps[0].load().training.hf_output_dir is None


def test_commands_for_one_run_refuse_a_pipeline(tmp_path, capsys):
    path = tmp_path / "p.yaml"
    path.write_text(MINIMAL)
    with pytest.raises(ConfigError, match="a pipeline of several runs"):
        load_preset(path)
    assert main(["estimate", str(path)]) == 2
    assert "a pipeline of several runs" in capsys.readouterr().err
    assert main(["show", str(path)]) == 0
    assert load_any(path).name == "p"
