"""The pipelines of ``retrieval.py`` are pipelines that ``ultra-train`` runs."""

import importlib.util
from pathlib import Path

import pytest

from ultra_train.config import load_any

FOLDER = Path(__file__).parents[2] / "benchmarks"
STEPS = {"chain": ["mlm", "sbert", "splade"], "splade": ["splade", "inference_free"], "csr": ["csr"]}


@pytest.fixture(scope="module")
def retrieval():
    spec = importlib.util.spec_from_file_location("retrieval", FOLDER / "retrieval.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", STEPS)
def test_its_steps_have_no_faults(retrieval, name, tmp_path):
    places = {
        "data": str(tmp_path),
        "collection": str(tmp_path / "collection"),
        "language": "es",
        "folder": str(tmp_path),
        "base": str(tmp_path / "base"),
    }
    preset = load_any(retrieval.prepared(name, places, tmp_path))
    assert [step.name for step in preset.steps] == STEPS[name]
    assert preset.evaluation.data == places["collection"]
