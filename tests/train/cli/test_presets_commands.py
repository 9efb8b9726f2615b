"""validate, show and schema."""

import json

import jsonschema
from ruamel.yaml import YAML

from ultra_train.config import load_any, to_yaml


def test_validate_says_so(ultra, preset):
    result = ultra("validate", preset, "tinybert")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"{preset}: valid", "tinybert: valid"]


def test_validate_reports_every_file(ultra, preset, tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("model_clas: mini\ntraining: {lr_other: 1e-3, batch_size: 0}\n")
    result = ultra("validate", str(broken), preset, "nowhere")
    assert result.exit_code == 2
    assert f"{broken}:1:1: model_clas: unknown key" in result.stderr
    assert f"{broken}:2:40: training.batch_size: expected a number >= 1, found 0" in result.stderr
    assert f"{preset}: valid" in result.stdout
    assert "unknown preset 'nowhere'" in result.stderr


def test_show_prints_the_canonical_form(ultra, preset, tmp_path):
    result = ultra("show", preset, "--set", "training.seed=11")
    assert result.exit_code == 0
    assert result.stdout == to_yaml(load_any(preset, ["training.seed=11"]))
    path = tmp_path / "again.yaml"
    path.write_text(result.stdout)
    assert load_any(path) == load_any(preset, ["training.seed=11"])
    assert "lr_other" not in result.stdout
    assert "max_rolling_checkpoints: 3" in result.stdout
    assert ultra("show", str(path)).stdout == result.stdout


def test_schema_in_both_forms(ultra):
    as_json = json.loads(ultra("schema").stdout)
    jsonschema.Draft202012Validator.check_schema(as_json)
    assert YAML(typ="safe", pure=True).load(ultra("schema", "--yaml").stdout) == as_json
