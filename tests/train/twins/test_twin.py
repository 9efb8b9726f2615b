"""Twins of presets: tiny, of the same parts, and written once."""

import attrs
import pytest

from ultra_blocks.config import split_spec
from ultra_core import presets
from ultra_core.errors import UltraError
from ultra_train.config import load_preset
from ultra_train.twins.twin import ROWS, UPDATES, twin

CONTINUED = """
base_model: dccuchile/bert-base-spanish-wwm-cased
tokenizer: {name_or_path: dccuchile/bert-base-spanish-wwm-cased}
training:
  task: mlm
  dataset: owner/texts
  max_length: 512
  hf_output_dir: finished
  scheduler_type: constant
  optimizer: {optimizer_class: soap, parameters: {soap-lr: 1e-4, soap-precondition_frequency: 50}}
"""


OTHERS = ("es_mlm_", "es_sbert_", "es_intents_", "es_slots_", "training_config_", "commands_", "pipeline_")
"""Presets that continue a model, and pipelines."""


@pytest.mark.parametrize(
    "name",
    [name for name in presets.names() if not name.startswith(OTHERS)],
)
def test_the_twin_of_an_encoder_has_the_same_parts(name, tmp_path):
    preset = load_preset(name)
    small = twin(preset, tmp_path)
    same = ("norm_type", "ffn", "num_loops", "use_bitnet", "use_factorized_embedding", "positions")
    assert [getattr(small.model, f) for f in same] == [getattr(preset.model, f) for f in same]
    assert _names(small.model.layer_pattern) == _names(preset.model.layer_pattern)
    assert small.model.hidden_size < 50
    assert small.training.optimizer.optimizer_class == preset.training.optimizer.optimizer_class
    assert small.training.scheduler_type == preset.training.scheduler_type
    assert small.training.batch_size <= ROWS
    assert not small.notices


def _names(pattern):
    return [split_spec(spec)[0] for spec in pattern]


def test_the_twin_of_a_base_model(load, tmp_path, command_cache):
    preset = load(CONTINUED)
    small = twin(preset, tmp_path / "twins", cache_dir=command_cache)
    written = sorted(p.name for p in (tmp_path / "twins").iterdir())
    assert written == ["dccuchile--bert-base-spanish-wwm-cased", "tokenizer-bert"]
    assert small.base_model == str(tmp_path / "twins" / written[0])
    assert small.tokenizer.name_or_path == str(tmp_path / "twins" / written[1])
    training = small.training
    assert (training.max_steps, training.hf_output_dir) == (UPDATES, None)
    assert (training.scheduler_type, training.dataset[0].source) == ("constant", "ultra:es-commands")
    assert training.optimizer.parameters == {"soap-lr": 1e-4, "soap-precondition_frequency": 2}


def test_what_is_there_is_used_again(load, tmp_path, command_cache):
    preset = load(CONTINUED)
    first = twin(preset, tmp_path / "twins", cache_dir=command_cache)
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "twins").rglob("*")}
    assert twin(preset, tmp_path / "twins", cache_dir=command_cache) == first
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "twins").rglob("*")} == times


def test_a_base_model_whose_config_is_unknown_has_no_twin(load, tmp_path):
    preset = attrs.evolve(load(CONTINUED), base_model="owner/unknown")
    with pytest.raises(
        UltraError,
        match=r"config of owner/unknown is not on .*\(hf download owner/unknown",
    ):
        twin(preset, tmp_path / "twins")
    assert not (tmp_path / "twins").exists()
