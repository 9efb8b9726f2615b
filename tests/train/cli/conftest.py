"""Running the command line inside the test process."""

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from ultra_train.cli.app import cli

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


@pytest.fixture
def ultra(monkeypatch) -> Callable[..., Result]:
    """Run ``ultra-train`` with these arguments."""
    monkeypatch.delenv("ULTRA_DEBUG", raising=False)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments), terminal_width=120)

    return run
