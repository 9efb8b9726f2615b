"""From a name or file to a preset in canonical form."""

from pathlib import Path

import pytest

from ultra_blocks.config import UltraConfig
from ultra_core.config import ConfigError
from ultra_core.errors import UnknownNameError
from ultra_train.config import from_source, load_any, load_preset, to_yaml
from ultra_train.config.data import DatasetSource
from ultra_train.config.optimizer import RATE_KEYS


def test_an_installed_preset_is_found_by_name():
    preset = load_preset("tinybert")
    assert preset.name == "tinybert"
    assert isinstance(preset.model, UltraConfig)
    assert preset.model.num_layers == 6


def test_a_file_wins_over_nothing_else(tmp_path, minimal):
    path = tmp_path / "mine.yaml"
    path.write_text(minimal)
    assert load_preset(path).name == "mine"
    assert load_preset(str(path)).name == "mine"


def test_an_unknown_name_is_suggested():
    with pytest.raises(UnknownNameError, match="Did you mean 'tinybert'"):
        load_preset("tinybart")


@pytest.mark.parametrize("name", ["missing.yaml", "./missing", "folder/missing"])
def test_a_missing_file(name):
    with pytest.raises(ConfigError, match="no such file"):
        load_preset(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"- a\n- b\n", "expected a mapping"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "UTF-8"),
        (b"a\x00b: 1", "not allowed in YAML"),
        (b"training: {task: mlm\n", "not valid YAML"),
        (b"training: 3\nmodel: 4\n", "expected a mapping"),
    ],
)
def test_files_that_are_no_preset(tmp_path, content, message):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_preset(path)
    assert all(fault.line >= 1 and fault.column >= 1 for fault in caught.value.faults)


def test_a_folder_is_no_preset(tmp_path):
    with pytest.raises(ConfigError, match="is a folder"):
        load_preset(tmp_path)


def test_numbers_in_every_spelling(load, minimal):
    for text, value in (("1e-6", 1e-6), ("1E-6", 1e-6), ("1.e-6", 1e-6), (".5", 0.5), ("2", 2.0)):
        preset = load(minimal, f"training.optimizer.parameters.adamw-lr={text}")
        assert preset.training.optimizer.parameters["adamw-lr"] == value


def test_both_spellings_of_an_optimizer_mean_the_same(load, minimal):
    flat = load(minimal, "training.optimizer=", "training.lr_mamba=1e-3").training
    assert flat.optimizer.optimizer_class == "adamw"
    assert flat.optimizer.parameters["adamw-lr_mamba"] == 1e-3
    assert flat.optimizer.parameters["adamw-lr_norms"] == 5e-6
    assert flat.optimizer.parameters["adamw-wd_norms"] == 0.001
    assert flat.optimizer.parameters["adamw-lr"] == 2e-6
    assert all(getattr(flat, name) is None for name in RATE_KEYS)


def test_defaults_that_depend_on_other_keys(load, minimal):
    preset = load(minimal, "training.scheduler_total_steps=77", "training.checkpoint_every_n_steps=5")
    assert preset.training.max_steps == 77
    assert preset.training.eval_every_n_steps == 5
    assert preset.training.dataset == (DatasetSource(source="ultra:es-commands"),)
    assert preset.tokenizer.train.vocab_size == 512
    assert preset.model.ffn == {"mlp": {"activation": "gelu"}}


def test_the_model_follows_its_tokenizer_and_class(load):
    text = "model_class: mini\ntokenizer: {train: {vocab_size: 900}}\ntraining: {lr_other: 1e-3}\n"
    preset = load(text)
    assert preset.model.vocab_size == 900
    assert preset.model.use_embedding_conv
    assert preset.model.hidden_size == 128
    assert load(text, "model.hidden_size=64").model.hidden_size == 64


def test_data_in_every_form(load, minimal):
    one = load(minimal, "training.dataset=corpus/*.txt").training.dataset
    assert one == (DatasetSource(source="corpus/*.txt"),)
    two = load(
        minimal, "training.dataset=[a.txt, {source: b.jsonl, column: body, weight: 2}]"
    ).training.dataset
    assert two == (DatasetSource(source="a.txt"), DatasetSource(source="b.jsonl", column="body", weight=2.0))


@pytest.mark.parametrize("form", ["minimal", "base", "sparse"])
def test_the_canonical_form_loads_to_an_equal_preset(form, load, request, later_tasks):
    preset = load(request.getfixturevalue(form))
    again = load(to_yaml(preset))
    assert again == preset
    assert to_yaml(again) == to_yaml(preset)


def test_a_preset_of_another_form_is_loaded_alike(tmp_path, sparse):
    path = tmp_path / "sparse.yaml"
    path.write_text(sparse)
    assert load_preset(Path(path)) == load_any(path)
    assert load_preset(Path(path)).task == "inference_free_splade"


def test_overrides_are_checked_like_the_file(problems, minimal):
    (fault,) = problems(minimal, "training.batch_sise=8")
    assert str(fault).startswith("--set training.batch_sise: training.batch_sise: unknown key. Did you mean")
    (fault,) = problems(minimal, "training.batch_size=many")
    assert "a whole number" in fault.message
    (fault,) = problems(minimal, "nonsense")
    assert "KEY=VALUE" in fault.message


def test_a_mapping_made_in_python():
    from ultra_core.config import from_tree

    tree = {"model_class": "mini", "training": {"lr_other": 1e-3}}
    assert from_source(from_tree(tree), "mine").name == "mine"
