from ultra_blocks.config import UltraConfig
from ultra_blocks.models.frankenstein import model
from ultra_core import models


def test_defaults_are_the_seeds():
    assert model.config() == UltraConfig()
    assert model.config(num_loops=2) == UltraConfig(num_loops=2)


def test_registered_under_its_name():
    for name in models.names():
        assert models.get(name).name == name
        assert models.get(name).summary
        assert models.get(name).load().config_class.model_type == "ultra"
