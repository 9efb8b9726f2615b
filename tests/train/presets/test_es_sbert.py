"""The Spanish presets of sentence embeddings are those of the catalogue; their twins train and resume."""

import re
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from support.killed_twin import trained_twice
from ultra_core import presets
from ultra_train.config import load_any, load_preset, to_yaml
from ultra_train.twins.twin import UPDATES, twin

NAMES = [name for name in presets.names() if name.startswith("es_sbert_")]
PAGE = (Path(__file__).parents[3] / "docs" / "presets.md").read_text("utf-8")
FASTEST = {"es_sbert_beto_mean", "es_sbert_bertin_cls"}

loaded = cache(load_preset)


def test_there_are_five():
    assert len(NAMES) == 5


@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_the_catalogue_says(name, tmp_path):
    preset = loaded(name)
    sbert, meta = preset.training.sbert, preset.meta
    rows = f"{sbert.batch_size} x {sbert.max_seq_length}"
    cells = (f"`{name}`", f"`{preset.base_model}`", f"`{sbert.pooling_mode}`", rows, meta.vram)
    assert re.search(re.escape(f"| {' | '.join(cells)} | `{meta.stability}` |"), PAGE), (
        "the row of the table in docs/presets.md"
    )
    assert name.endswith(sbert.pooling_mode)
    assert sbert.batch_size * sbert.gradient_accumulation_steps == 16
    assert sbert.use_amp is False
    assert ("fastest_sbert" in meta.guides) == (name in FASTEST)
    assert preset.notices == ()
    path = tmp_path / f"{name}.yaml"
    path.write_text(to_yaml(preset), "utf-8")
    assert load_any(path) == preset


@pytest.mark.parametrize("name", NAMES)
def test_its_twin_trains_resumes_exactly_and_loads(name, twins, command_cache, tmp_path, monkeypatch):
    preset = twin(loaded(name), twins, cache_dir=command_cache)
    unbroken, killed, checkpoint, _ = trained_twice(preset, UPDATES, tmp_path, monkeypatch)
    expected, found = (load_file(f / "model" / "model.safetensors") for f in (unbroken, killed))
    assert [key for key, value in expected.items() if not torch.equal(value, found[key])] == []
    before = load_file(checkpoint.path / "model.safetensors")
    assert [key for key in before if not torch.equal(before[key], expected[key])]
    model = SentenceTransformer(str(killed / "model"), device="cpu")
    assert model[1].pooling_mode == preset.training.sbert.pooling_mode
    assert model.encode(["abre la puerta"]).shape == (1, model.get_embedding_dimension())
