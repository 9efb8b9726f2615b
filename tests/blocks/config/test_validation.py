import subprocess
import sys

import pytest

from ultra_blocks.config import ModelConfigError, UltraConfig, validation
from ultra_blocks.encoder import check_config, config_faults
from ultra_core.errors import UltraError
from ultra_core.plugins.registry import Registry

pytestmark = pytest.mark.usefixtures("toy_plugins")


def config(**fields):
    return UltraConfig(**{"use_moe": False, "layer_pattern": ["block"], **fields})


def paths(**fields):
    return [path for path, _ in config_faults(config(**fields))]


def test_importing_and_comparing_declarations_imports_no_torch():
    code = (
        "import sys; from ultra_blocks.config import UltraConfig; "
        "from ultra_blocks.config.validation import contradictions, type_faults; "
        "good = UltraConfig(use_moe=False, ffn='mlp', positions=None); "
        "assert not [*type_faults(good), *contradictions(good)]; "
        "assert list(type_faults(UltraConfig(num_layers=0))); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 2.5}, "expected a whole number"),
        ({"hidden_size": True}, "expected a whole number"),
        ({"num_layers": 0}, "expected a number >= 1"),
        ({"dropout": 1.0}, "expected a number >= 0 and < 1"),
        ({"use_bitnet": 1}, "expected true or false"),
        ({"ode_solver": "rk5"}, "expected one of 'rk4'"),
        ({"layer_pattern": "block"}, "expected a list"),
        ({"layer_pattern": []}, "name at least one block"),
        ({"layer_pattern": [{"block": {}, "retnet": {}}]}, "found 2 names"),
        ({"layer_pattern": [{"block": 3}]}, "expected a list"),
        ({"ffn_activation": 1}, "expected a string"),
        ({"ffn": {"moe": {"expert": 3}}}, "expert is 3; expected a string or a mapping"),
        ({"ffn": {"moe": {"expert": None}}}, "expert is None; expected a string or a mapping"),
        ({"ffn": {"moe": {"expert": {"glu": 3}}}}, "expected a string or a mapping"),
        ({"ffn": {"moe": {"expert": {"glu": {}, "mlp": {}}}}}, "found 2 names: glu, mlp"),
    ],
)
def test_types_and_ranges(fields, message):
    ((_, found),) = config_faults(config(**fields))
    assert message in found


def test_every_fault_at_once():
    broken = config(
        hidden_size=10,
        num_heads=4,
        norm_type="layernorm",
        layer_pattern=["blok", {"block": {"state_sise": 3, "state_size": "x"}}],
    )
    with pytest.raises(ModelConfigError) as caught:
        check_config(broken)
    assert isinstance(caught.value, UltraError)
    assert [path for path, _ in caught.value.faults] == [
        ("norm_type",),
        ("layer_pattern", 0),
        ("layer_pattern", 1, "block", "state_sise"),
        ("layer_pattern", 1, "block", "state_size"),
    ]
    assert "Did you mean 'layer_norm'" in str(caught.value)
    assert "Did you mean 'block'" in str(caught.value)
    assert "Did you mean 'state_size'" in str(caught.value)


def test_heads_matter_only_to_blocks_that_have_them():
    assert paths(hidden_size=10, num_heads=4) == [("num_heads",)]
    assert paths(hidden_size=10, num_heads=5, retention_heads=4) == []
    assert paths(hidden_size=10, num_heads=5, retention_heads=4, layer_pattern=["recurrent"]) == [
        ("retention_heads",)
    ]
    assert paths(hidden_size=10, num_heads=4, layer_pattern=[{"block": {"heads": 5}}]) == []
    assert paths(hidden_size=12, num_heads=6, num_kv_heads=4) == [("num_kv_heads",)]


def test_a_plugin_that_cannot_be_imported_is_a_fault_where_it_must_be_read():
    ((path, message),) = config_faults(config(layer_pattern=[{"broken": {"a": 1}}]))
    assert path == ("layer_pattern", 0, "broken")
    assert "No module named 'no_such_module'" in message


def test_direction_and_position_kind():
    assert paths(causal=True) == [("layer_pattern", 0)]
    assert paths(causal=True, layer_pattern=["recurrent"]) == []
    assert paths(positions="alibi") == [("positions",)]
    assert paths(positions="rope") == paths(positions="nope") == paths(positions="learned") == []
    own = {"block": {"positions": "alibi"}}
    assert paths(layer_pattern=[own]) == [("layer_pattern", 0, "block", "positions")]
    ((_, message),) = config_faults(config(layer_pattern=[{"block": {"positions": "learned"}}]))
    assert "set model.positions instead" in message


@pytest.mark.usefixtures("mixture_plugin")
class TestShorthands:
    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"use_moe": False, "ffn": "moe"}, "use_moe"),
            ({"ffn_activation": "silu", "ffn": {"glu": {"activation": "gelu"}}}, "ffn_activation"),
            ({"ffn_activation": "silu", "ffn": "gateless"}, "ffn_activation"),
            ({"ffn_activation": "sine"}, "ffn_activation"),
            ({"ffn_activation": "swiglu", "ffn": "mlp"}, "ffn_activation"),
            ({"ffn_activation": "geglu", "ffn": {"glu": {"activation": "silu"}}}, "ffn_activation"),
            ({"ffn_activation": "swiglu", "ffn": {"moe": {"expert": "mlp"}}}, "ffn_activation"),
            ({"rope_base": 5.0, "positions": {"rope": {"base": 4.0}}}, "rope_base"),
            ({"use_hope": True, "positions": "rope"}, "use_hope"),
            ({"top_k_experts": 5}, "top_k_experts"),
        ],
    )
    def test_disagreement_is_a_fault(self, fields, path):
        given = UltraConfig(layer_pattern=["block"], **fields)
        assert (path,) in [found for found, _ in config_faults(given)]

    def test_agreement_is_none(self):
        for fields in (
            {"use_moe": True, "ffn": "moe"},
            {"use_moe": False, "ffn": "glu"},
            {"ffn_activation": "silu", "ffn": {"glu": {"activation": "silu"}}},
            {"use_moe": False, "use_hope": False, "positions": "rope"},
            {"use_moe": False, "num_experts": 1},
            {"ffn_activation": "swiglu", "ffn": {"glu": {"activation": "silu"}}},
            {"rope_base": 5.0, "positions": {"rope": {"base": 5.0}}},
        ):
            assert config_faults(UltraConfig(layer_pattern=["block"], **fields)) == []


@pytest.mark.parametrize(
    ("name", "closest"), [("sparse_transformer_attn", "longformer_attn"), ("sparsek_attn", "nsa_attn")]
)
def test_a_block_that_is_not_there_names_its_closest_relative(name, closest):
    ((path, message),) = config_faults(UltraConfig(layer_pattern=[name], use_moe=False))
    assert path == ("layer_pattern", 0)
    assert f"The closest is '{closest}', wh" in message


def test_a_name_that_is_not_there_is_looked_up_once(monkeypatch):
    asked = []
    entry = validation.blocks.entry
    monkeypatch.setattr(validation.blocks, "entry", lambda name: asked.append(name) or entry(name))
    assert len(config_faults(UltraConfig(layer_pattern=["standard_atn"] * 500, use_moe=False))) == 500
    assert asked == ["standard_atn"]


def test_use_moe_without_the_plugin_says_what_to_set(monkeypatch):
    monkeypatch.setattr(validation, "ffns", Registry("ultra.no_ffns", "ffn"))
    ((path, message),) = config_faults(UltraConfig(layer_pattern=["block"]))
    assert path == ("use_moe",)
    assert "set use_moe: false" in message
