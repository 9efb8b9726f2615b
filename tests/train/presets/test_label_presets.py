"""The presets of classification and tagging are those of the catalogue; their twins train and resume."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import pipeline

from support.killed_twin import trained_twice
from ultra_train.config import load_any, load_preset, to_yaml
from ultra_train.twins.twin import UPDATES, twin

NAMES = ("commands_intents", "commands_slots", "es_intents_beto", "es_slots_beto")
DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid_and_documented(name, tmp_path):
    preset = load_preset(name)
    assert f"`{name}`" in (DOCS / "classification.md").read_text("utf-8")
    assert not [line for line in preset.notices if not line.startswith("not usable on this machine")]
    path = tmp_path / f"{name}.yaml"
    path.write_text(to_yaml(preset), "utf-8")
    assert load_any(path) == preset


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("es_intents_beto", ()),
        ("es_slots_beto", ()),
        ("es_slots_beto", ("base_model=PlanTL-GOB-ES/roberta-base-bne",)),
    ],
    ids=["intents", "slots", "slots of RoBERTa"],
)
def test_its_twin_trains_resumes_exactly_and_loads(name, base, twins, command_cache, tmp_path, monkeypatch):
    preset = twin(load_preset(name, base), twins, cache_dir=command_cache)
    unbroken, killed, _, _ = trained_twice(preset, UPDATES, tmp_path, monkeypatch)
    expected, found = (load_file(f / "model" / "model.safetensors") for f in (unbroken, killed))
    assert [key for key, value in expected.items() if not torch.equal(value, found[key])] == []
    task = "text-classification" if "intents" in name else "token-classification"
    answers = pipeline(task, model=str(killed / "model"), device="cpu")("abre la puerta del garaje")
    assert answers
