"""Presets as text, and what loading them says."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from ultra_core.config import ConfigError
from ultra_train.config import load_any

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
  optimizer:
    optimizer_class: adamw
    parameters:
      adamw-lr: 1e-3
"""


@pytest.fixture
def minimal() -> str:
    """A small valid preset."""
    return MINIMAL


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Write a preset file and return its path."""

    def written(text: str) -> str:
        path = tmp_path / "preset.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return str(path)

    return written


@pytest.fixture
def load(write: Callable[[str], str]) -> Callable[..., object]:
    """Load a preset from its text."""

    def loaded(text: str, *overrides: str) -> object:
        return load_any(write(text), overrides)

    return loaded


@pytest.fixture
def problems(load: Callable[..., object]) -> Callable[..., list[str]]:
    """Load a preset from its text and return its faults as ``line:column: path: message``, none if valid."""

    def found(text: str, *overrides: str) -> list[str]:
        try:
            load(text, *overrides)
        except ConfigError as error:
            return [f"{f.line}:{f.column}: {f.path}: {f.message}" for f in error.faults]
        return []

    return found
