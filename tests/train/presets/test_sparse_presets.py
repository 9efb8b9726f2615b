"""The presets of sparse encoders, and their twins: trained, killed, resumed bit for bit, saved, loaded."""

from __future__ import annotations

import json

import pytest
import torch
from sentence_transformers import SparseEncoder

from support.killed_twin import trained_twice
from support.profile import NIGHTLY
from ultra_core import presets
from ultra_train.config import load_any, load_preset, to_yaml
from ultra_train.tasks.sparse.encoders import build_encoder
from ultra_train.tasks.sparse.query_rates import query_weights
from ultra_train.twins.sparse import UPDATES
from ultra_train.twins.twin import twin

NAMES = [name for name in presets.names() if name.startswith("training_config_")]
BASES = {
    "csr": "thivy/norbert4-base-scandinavian-embedding",
    "csr_h100": "thivy/norbert4-base-scandinavian-embedding",
    "splade": "ltg/norbert3-xs",
    "splade_regular": "ltg/norbert3-xs",
    "splade_large": "ltg/norbert4-base",
    "splade_h100": "ltg/norbert4-large",
    "splade_large_h100": "ltg/norbert4-large",
    "splade_regular_h100": "ltg/norbert4-large",
}
SAMPLE = [f"training_config_{name}" for name in ("csr_h100", "splade", "splade_large", "splade_regular_h100")]
"""Every architecture, in fp32 and bf16, with and without accumulation."""
CLOCK = ("_per_second", "_runtime", "_hours", "_share", "memory_gb")


def test_all_of_them_are_there():
    assert {f"training_config_{name}" for name in BASES} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid_and_canonical(name, tmp_path):
    preset = load_preset(name)
    assert preset.meta.summary
    assert preset.meta.papers
    assert preset.model.base_model == BASES[name.removeprefix("training_config_")]
    assert all(notice.startswith("hardware.device") for notice in preset.notices)
    path = tmp_path / f"{name}.yaml"
    path.write_text(to_yaml(preset), encoding="utf-8")
    assert load_any(path) == preset


def lines(run):
    """Return the lines of a run without what the clock measured."""
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in r.items() if not k.endswith(CLOCK)} for r in records]


@pytest.mark.parametrize("name", NAMES if NIGHTLY else SAMPLE)
def test_its_twin_trains_resumes_exactly_and_loads(name, twins, command_cache, tmp_path, monkeypatch):
    """Some at every push, all in the nightly tests: each costs seconds."""
    preset = twin(load_preset(name), twins, cache_dir=command_cache)
    unbroken, killed, *_ = trained_twice(preset, UPDATES, tmp_path, monkeypatch, device=None)
    expected, found = (SparseEncoder(str(run / "model"), device="cpu") for run in (unbroken, killed))
    states = expected.state_dict(), found.state_dict()
    assert [key for key, value in states[0].items() if not torch.equal(value, states[1][key])] == []
    before = build_encoder(preset, lambda line: None).state_dict()
    moved = [k for k, v in before.items() if v.is_floating_point() and not torch.equal(v, states[0][k])]
    trained = [name for name, p in expected.named_parameters() if p.requires_grad]
    assert len(moved) > len(trained) / 2
    assert set(query_weights(expected)) <= set(moved)
    assert lines(killed) == lines(unbroken)
    last = [line for line in lines(unbroken) if "loss" in line][-1]
    assert last["document_active_dims"] > 0
    if "csr" not in name:
        assert "dense_documents" in [line.get("event") for line in lines(unbroken) if line.get("alarm")]
        (*_, shown) = [line["samples"] for line in lines(unbroken) if line.get("event") == "samples"]
        assert [sample["given"].partition(":")[0] for sample in shown[:2]] == ["query", "document"]
        assert shown[1]["guesses"]
    card = (unbroken / "model" / "README.md").read_text("utf-8")
    assert "document_active_dims" in card
    assert 'license: "apache-2.0"' in card
    queries, documents = found.encode_query(["abre la puerta"]), found.encode_document(["abre", "apaga"])
    assert found.similarity(queries, documents).shape == (1, 2)
