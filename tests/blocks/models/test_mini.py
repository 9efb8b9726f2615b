import subprocess
import sys

from ultra_blocks.encoder import config_faults
from ultra_blocks.models.mini import model


def test_defaults_are_those_of_the_preset_table():
    config = model.config()
    assert (config.hidden_size, config.num_layers, config.num_heads) == (128, 4, 1)
    assert (config.use_factorized_embedding, config.factorized_embedding_dim) == (True, 16)
    assert (config.use_embedding_conv, config.embedding_conv_kernel) == (True, 32)
    assert (config.ffn_hidden_size, config.resolved_ffn()) == (512, ("mlp", {}))
    assert config_faults(config) == []


def test_fields_given_win_and_shorthands_still_work():
    assert model.config(num_layers=2).num_layers == 2
    assert model.config(ffn_activation="silu").resolved_ffn() == ("mlp", {"activation": "silu"})
    assert config_faults(model.config(ffn={"glu": {"activation": "silu"}})) == []


def test_importing_imports_no_torch():
    code = "import sys, ultra_blocks.models.mini; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_builds_at_its_real_size():
    cls = model.load()
    built = cls(cls.config_class.from_ultra(model.config(vocab_size=100)))
    assert built.model.encoder.embeddings.projection.in_features == 16
    assert sum(p.numel() for p in built.parameters()) < 1_000_000
