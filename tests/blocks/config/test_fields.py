import attrs
import pytest

from ultra_blocks.config import ModelConfigError, UltraConfig, split_spec
from ultra_blocks.encoder import check_config

pytestmark = pytest.mark.usefixtures("toy_plugins")


def config(**fields):
    return UltraConfig(**{"use_moe": False, "layer_pattern": ["block"], **fields})


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


def test_layers_cycle_the_pattern():
    three = config(num_layers=3, layer_pattern=["block", {"recurrent": {"heads": 2}}])
    assert three.layers() == [("block", {}), ("recurrent", {"heads": 2}), ("block", {})]
    assert split_spec({"rope": None}) == ("rope", {})


@pytest.mark.usefixtures("mixture_plugin")
class TestShorthands:
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
    assert check_config(plain).canonical().ffn == ffn
    assert check_config(mixed).canonical().ffn == {"moe": {"expert": ffn}}
    ((name, options),) = ffn.items()
    named = UltraConfig(use_moe=False, **{**fields, "ffn": name})
    assert check_config(named).canonical().ffn == {name: options}


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


def test_hope_is_for_the_blocks_whose_own_code_it_is():
    assert config().positions_for("hope") == "hope"
    assert config(use_hope=True).positions_for("rope") == "rope"
    assert config(use_hope=False).positions_for("hope") == "rope"
    assert config(use_hope=False).positions_for("alibi") == "alibi"
    assert config(positions={"alibi": {}}).positions_for("rope") == {"alibi": {}}


def test_the_method_check_of_0_1_still_checks_and_warns():
    good = config()
    with pytest.warns(DeprecationWarning, match=r"ultra_blocks\.encoder\.check_config"):
        assert good.check() is good
    with (
        pytest.warns(DeprecationWarning, match="check_config"),
        pytest.raises(ModelConfigError, match="num_heads"),
    ):
        config(hidden_size=100, num_heads=3).check()
