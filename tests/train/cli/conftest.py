"""A preset for the command line."""

import pytest

PRESET = """\
model_class: frankenstein
model: {vocab_size: 512, hidden_size: 64, num_layers: 1, num_heads: 4, use_hope: false, use_moe: false}
training:
  dataset: ultra:es-commands
  optimizer: {optimizer_class: adamw, parameters: {adamw-lr: 1e-3}}
"""


@pytest.fixture
def preset(tmp_path) -> str:
    """Path of a small valid preset."""
    path = tmp_path / "small.yaml"
    path.write_text(PRESET)
    return str(path)
