"""Small presets whose steps are run both on shapes and on real tensors."""

from collections.abc import Callable

import pytest

from ultra_train.config import Preset, load_preset

PRESET = """
model_class: frankenstein
model:
  {vocab_size: 600, hidden_size: 48, num_layers: 2, num_heads: 3, retention_heads: 3, num_experts: 3,
   top_k_experts: 2, ffn_hidden_size: 96, ode_steps: 1, use_hope: false, use_moe: false}
training:
  dataset: ultra:es-commands
  batch_size: 3
  max_length: 32
  optimizer: {optimizer_class: adamw, parameters: {adamw-lr: 1e-3}}
"""


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Callable[..., Preset]:
    """Load the small preset with overrides."""
    path = tmp_path_factory.mktemp("estimate") / "small.yaml"
    path.write_text(PRESET)
    return lambda *overrides: load_preset(path, overrides)
