"""The JSON Schema accepts every preset that loads, and rejects what editors should underline."""

from pathlib import Path

import jsonschema
import pytest

import ultra_train.presets
from ultra_core import presets
from ultra_core.config import load_source, parse_source
from ultra_train.config.schema import preset_schema, schema_yaml

FOLDER = Path(ultra_train.presets.__path__[0])


@pytest.fixture(scope="module")
def validator():
    schema = preset_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", presets.names())
def test_it_accepts_the_presets(name, validator):
    assert list(validator.iter_errors(load_source(presets.get(name)).tree)) == []


@pytest.mark.parametrize("form", ["minimal", "base", "sparse"])
def test_it_accepts_what_loads(form, validator, request):
    assert list(validator.iter_errors(parse_source(request.getfixturevalue(form)).tree)) == []


BAD = [
    "training.batch_sise=3",
    "training.batch_size=0",
    "training.batch_size='4'",
    "training.task=mln",
    "training.scheduler_type=cosin",
    "training.optimizer.optimizer_class=adam",
    "training.optimizer.parameters.adamw-lrr=1",
    "training.optimizer.parameters.lion-lr=1",
    "training.optimizer.parameters.adamw-lr=-1",
    "training.optimizer.parameters.adamw-lr_mambo=1",
    "model.layer_pattern=[standard_atn]",
    "model.layer_pattern=[]",
    "model.layer_pattern=[{retnet: {chunk: 3}}]",
    "model.layer_pattern=[{retnet: {chunk_size: 0}}]",
    "model.norm_type=layernorm",
    "model.ffn={glu: {activation: nothing}}",
    "model.dropout=1",
    "model.use_moe=maybe",
    "unknown=1",
]


@pytest.mark.parametrize("override", BAD)
def test_it_rejects_what_does_not_load(override, validator, minimal, problems):
    assert list(validator.iter_errors(parse_source(minimal, [override]).tree)) != []
    assert problems(minimal, override) != []


GOOD = [
    "training.optimizer.parameters.adamw-wd_norms=0.1",
    "training.optimizer.parameters.adamw-betas=[0.9, 0.99]",
    "model.layer_pattern=[{gqa_attn: {num_kv_heads: 2}}, 'ultra-blocks:standard_attn', gqa_attn]",
    "model.norm_type={rms_norm: {}}",
    "model.ffn={glu: {activation: silu}}",
    "training.dataset=[a.txt, {source: b.csv}]",
]


@pytest.mark.parametrize("override", GOOD)
def test_it_accepts_options(override, validator, minimal, problems):
    assert list(validator.iter_errors(parse_source(minimal, [override]).tree)) == []
    assert problems(minimal, override) == []


def test_the_shipped_schema_is_fresh():
    shipped = (FOLDER / "schema.yaml").read_text(encoding="utf-8")
    assert shipped == schema_yaml(), f"run: ultra-train schema --yaml > {FOLDER.name}/schema.yaml"


def test_presets_point_editors_at_it():
    for name in presets.names():
        first = presets.get(name).read_text(encoding="utf-8").splitlines()[0]
        assert first == "# yaml-language-server: $schema=schema.yaml"
