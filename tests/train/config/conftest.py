"""Presets as text, and what loading them says."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from ultra_core import tasks
from ultra_core.config import ConfigError, Fault
from ultra_train.config import Preset, SparsePreset, load_any

MINIMAL = """\
model_class: frankenstein
model:
  vocab_size: 512
  hidden_size: 64
  num_layers: 2
  num_heads: 4
  layer_pattern: [standard_attn]
  use_hope: false
  use_moe: false
training:
  task: mlm
  dataset: ultra:es-commands
  optimizer:
    optimizer_class: adamw
    parameters:
      adamw-lr: 1e-3
"""

BASE = """\
base_model: some/encoder
tokenizer:
  name_or_path: some/encoder
training:
  dataset: ultra:es-commands
  optimizer:
    optimizer_class: lion
    parameters: {lion-lr: 1e-4}
"""

SPARSE = """\
model:
  base_model: ltg/norbert3-xs
  architecture: inference-free-splade
training:
  learning_rate: 2e-5
  query_learning_rate: 1e-3
loss:
  type: splade_loss
  document_regularizer_weight: 3e-3
datasets:
  sampling_strategy: round_robin
  nli: {enabled: true, source: some/nli, languages: [nb], split_ratio: 0.9}
  scandi_qa: {enabled: true, use_norquad: true, scandiqa_languages: [da]}
  ddsc: {enabled: false, languages: [da], tasks: [retrieval]}
"""

Load = Callable[..., Preset | SparsePreset]
Problems = Callable[..., list[Fault]]


@pytest.fixture
def minimal() -> str:
    """A small valid preset of an encoder from scratch."""
    return MINIMAL


@pytest.fixture
def base() -> str:
    """A small valid preset that continues a base model."""
    return BASE


@pytest.fixture
def sparse() -> str:
    """A sparse preset; valid once its task is there."""
    return SPARSE


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a preset from its text."""

    def loaded(text: str, *overrides: str) -> Preset | SparsePreset:
        path = tmp_path / "preset.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return load_any(path, overrides)

    return loaded


@pytest.fixture
def problems(load: Load) -> Problems:
    """Load a preset from its text and return its faults, none if it is valid."""

    def found(text: str, *overrides: str) -> list[Fault]:
        try:
            load(text, *overrides)
        except ConfigError as error:
            return list(error.faults)
        return []

    return found


@pytest.fixture
def later_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the tasks that this release does not have yet."""
    monkeypatch.setattr(tasks, "_added", [])
    for name in ("sbert", "splade", "inference_free_splade", "csr"):
        if name not in tasks:
            tasks.add(name, object())
