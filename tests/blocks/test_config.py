import subprocess
import sys
from types import SimpleNamespace
from typing import Annotated

import attrs
import pytest

from ultra_blocks import validation
from ultra_blocks.config import ModelConfigError, UltraConfig, split_spec
from ultra_core import blocks, ffns
from ultra_core.contracts import FromModel
from ultra_core.errors import UltraError
from ultra_core.plugins.registry import Registry


class Block:
    traits = SimpleNamespace(causal=False, positions=("rotate",))

    def __init__(
        self,
        hidden_size: int,
        *,
        heads: Annotated[int, FromModel("num_heads")] = 1,
        groups: Annotated[int | None, FromModel("num_kv_heads")] = None,
        positions: Annotated[str | dict[str, dict[str, int]], FromModel("positions")] = "rope",
        state_size: int = 4,
    ) -> None: ...


class Recurrent:
    def __init__(
        self, hidden_size: int, *, heads: Annotated[int, FromModel("retention_heads")] = 1
    ) -> None: ...


class Gateless:
    def __init__(self, hidden_size: int, ffn_hidden_size: int, *, power: int = 2) -> None: ...


class Mixture:
    def __init__(
        self, hidden_size: int, ffn_hidden_size: int, *, expert: str | dict[str, dict[str, str]] = "mlp"
    ) -> None: ...


@pytest.fixture(autouse=True)
def _plugins(monkeypatch):
    monkeypatch.setattr(blocks, "_added", [])
    monkeypatch.setattr(ffns, "_added", [])
    blocks.add("block", Block)
    blocks.add("recurrent", Recurrent)
    blocks.add("broken", "no_such_module:Class")
    ffns.add("gateless", Gateless)


@pytest.fixture
def _mixture():
    if "moe" not in ffns:
        ffns.add("moe", Mixture)


def config(**fields):
    return UltraConfig(**{"use_moe": False, "layer_pattern": ["block"], **fields})


def paths(**fields):
    return [path for path, _ in config(**fields).faults()]


def test_defaults_are_the_seeds():
    seeds = {
        "vocab_size": 50_000, "hidden_size": 768, "num_layers": 12, "num_loops": 1, "num_heads": 12,
        "retention_heads": 12, "num_experts": 4, "top_k_experts": 2, "dropout": 0.1,
        "layer_pattern": ("standard_attn",), "ode_solver": "rk4", "ode_steps": 2, "use_bitnet": False,
        "norm_type": "layer_norm", "use_factorized_embedding": False, "factorized_embedding_dim": 128,
        "use_embedding_conv": False, "embedding_conv_kernel": 3, "hope_base": 10_000.0, "hope_damping": 0.01,
        "ffn_hidden_size": 3072,
    }  # fmt: skip
    assert {name: getattr(UltraConfig(), name) for name in seeds} == seeds
    assert all(field.metadata["help"] for field in attrs.fields(UltraConfig))


def test_importing_and_comparing_declarations_imports_no_torch():
    code = (
        "import sys; from ultra_blocks.config import UltraConfig; "
        "from ultra_blocks.validation import declared; "
        "assert not list(declared(UltraConfig(use_moe=False, ffn='mlp', positions=None))); "
        "assert UltraConfig(num_layers=0).faults(); "
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
        ({"ffn_activation": 1}, "expected a text"),
        ({"ffn": {"moe": {"expert": 3}}}, "expert is 3; expected a text or a mapping"),
        ({"ffn": {"moe": {"expert": None}}}, "expert is None; expected a text or a mapping"),
        ({"ffn": {"moe": {"expert": {"glu": 3}}}}, "expected a text or a mapping"),
        ({"ffn": {"moe": {"expert": {"glu": {}, "mlp": {}}}}}, "found 2 names: glu, mlp"),
    ],
)
def test_types_and_ranges(fields, message):
    ((_, found),) = config(**fields).faults()
    assert message in found


def test_every_fault_at_once():
    broken = config(
        hidden_size=10,
        num_heads=4,
        norm_type="layernorm",
        layer_pattern=["blok", {"block": {"state_sise": 3, "state_size": "x"}}],
    )
    with pytest.raises(ModelConfigError) as caught:
        broken.check()
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
    ((path, message),) = config(layer_pattern=[{"broken": {"a": 1}}]).faults()
    assert path == ("layer_pattern", 0, "broken")
    assert "No module named 'no_such_module'" in message


def test_direction_and_position_kind():
    assert paths(causal=True) == [("layer_pattern", 0)]
    assert paths(causal=True, layer_pattern=["recurrent"]) == []
    assert paths(positions="alibi") == [("positions",)]
    assert paths(positions="rope") == paths(positions="nope") == paths(positions="learned") == []
    own = {"block": {"positions": "alibi"}}
    assert paths(layer_pattern=[own]) == [("layer_pattern", 0, "block", "positions")]
    ((_, message),) = config(layer_pattern=[{"block": {"positions": "learned"}}]).faults()
    assert "set model.positions instead" in message


def test_layers_cycle_the_pattern():
    three = config(num_layers=3, layer_pattern=["block", {"recurrent": {"heads": 2}}])
    assert three.layers() == [("block", {}), ("recurrent", {"heads": 2}), ("block", {})]
    assert split_spec({"rope": None}) == ("rope", {})


@pytest.mark.usefixtures("_mixture")
class TestShorthands:
    def test_neither_said_means_what_the_seeds_mean(self):
        assert UltraConfig().resolved_ffn() == ("moe", {"expert": {"mlp": {"activation": "gelu"}}})

    def test_shorthands_alone(self):
        silu = UltraConfig(use_moe=False, ffn_activation="silu")
        assert silu.resolved_ffn() == ("mlp", {"activation": "silu"})
        assert UltraConfig(use_moe=True).resolved_ffn()[0] == "moe"

    def test_ffn_alone_is_taken_as_it_is(self):
        assert UltraConfig(ffn="glu").resolved_ffn() == ("glu", {})
        assert UltraConfig(ffn={"glu": {"activation": "silu"}}).resolved_ffn() == (
            "glu",
            {"activation": "silu"},
        )

    def test_use_moe_wraps_the_ffn_that_is_named(self):
        wrapped = UltraConfig(ffn="glu", use_moe=True, ffn_activation="silu")
        assert wrapped.resolved_ffn() == ("moe", {"expert": {"glu": {"activation": "silu"}}})
        named = UltraConfig(ffn={"moe": {"expert": "glu"}}, use_moe=True, ffn_activation="silu")
        assert named.resolved_ffn() == wrapped.resolved_ffn()

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
        assert (path,) in [found for found, _ in given.faults()]

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
            assert UltraConfig(layer_pattern=["block"], **fields).faults() == []

    def test_canonical_form_says_the_same_without_shorthands(self):
        for given in (UltraConfig(), config(ffn_activation="silu"), config(ffn="glu")):
            canonical = given.canonical()
            assert canonical.resolved_ffn() == given.resolved_ffn()
            assert canonical.canonical() == canonical
            assert canonical.use_moe is canonical.ffn_activation is None


@pytest.mark.parametrize(
    ("given", "ffn"),
    [
        ("swiglu", {"glu": {"activation": "silu"}}),
        ("geglu", {"glu": {"activation": "gelu"}}),
        ("reglu", {"glu": {"activation": "relu"}}),
        ("gelu_tanh", {"mlp": {"activation": "gelu_tanh"}}),
        ("mish", {"mlp": {"activation": "mish"}}),
        ("swish", {"mlp": {"activation": "silu"}}),
        ("LeakyReLU", {"mlp": {"activation": "leaky_relu"}}),
    ],
)
def test_every_activation_that_torch_names_and_gates(given, ffn):
    fields = {"layer_pattern": ["standard_attn"], "ffn_activation": given, "num_heads": 4, "hidden_size": 8}
    plain, mixed = UltraConfig(use_moe=False, **fields), UltraConfig(**fields)
    assert plain.check().canonical().ffn == ffn
    assert mixed.check().canonical().ffn == {"moe": {"expert": ffn}}
    ((name, options),) = ffn.items()
    named = UltraConfig(use_moe=False, **{**fields, "ffn": name})
    assert named.check().canonical().ffn == {name: options}


def test_other_names_of_plugins_are_written_out():
    given = UltraConfig(
        layer_pattern=[
            "retnet_attn",
            {"ultra-blocks:gla_attn": {"chunk_size": 4}},
            {"titan": {"positions": "none"}},
        ],
        ffn={"moe": {"expert": "swiglu"}},
        positions="none",
        rope_base=5.0,
    ).canonical()
    assert given.layer_pattern == (
        "retnet",
        {"ultra-blocks:gla": {"chunk_size": 4}},
        {"titan_attn": {"positions": "nope"}},
    )
    assert given.ffn == {"moe": {"expert": {"glu": {"activation": "silu"}}}}
    assert (given.positions, given.rope_base) == ("nope", 5.0)


def test_fields_of_rope_become_its_options():
    given = UltraConfig(positions={"rope": {"interleaved": True}}, rope_base=5.0, rope_factor=2.0)
    canonical = given.canonical()
    assert canonical.positions == {"rope": {"base": 5.0, "scaling": 2.0, "interleaved": True}}
    assert canonical.rope_base is canonical.rope_factor is None


@pytest.mark.parametrize(
    ("name", "closest"), [("sparse_transformer_attn", "longformer_attn"), ("sparsek_attn", "nsa_attn")]
)
def test_a_block_that_is_not_there_names_its_closest_relative(name, closest):
    ((path, message),) = UltraConfig(layer_pattern=[name], use_moe=False).faults()
    assert path == ("layer_pattern", 0)
    assert f"The closest is '{closest}', wh" in message


def test_a_name_that_is_not_there_is_looked_up_once(monkeypatch):
    asked = []
    entry = validation.blocks.entry
    monkeypatch.setattr(validation.blocks, "entry", lambda name: asked.append(name) or entry(name))
    assert len(UltraConfig(layer_pattern=["standard_atn"] * 500, use_moe=False).faults()) == 500
    assert asked == ["standard_atn"]


def test_use_moe_without_the_plugin_says_what_to_set(monkeypatch):
    monkeypatch.setattr(validation, "ffns", Registry("ultra.no_ffns", "ffn"))
    ((path, message),) = UltraConfig(layer_pattern=["block"]).faults()
    assert path == ("use_moe",)
    assert "set use_moe: false" in message


def test_hope_is_for_the_blocks_whose_own_code_it_is():
    assert config().positions_for("hope") == "hope"
    assert config(use_hope=True).positions_for("rope") == "rope"
    assert config(use_hope=False).positions_for("hope") == "rope"
    assert config(use_hope=False).positions_for("alibi") == "alibi"
    assert config(positions={"alibi": {}}).positions_for("rope") == {"alibi": {}}
