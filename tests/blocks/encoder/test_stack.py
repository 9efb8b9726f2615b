import math
from typing import Annotated

import pytest
import torch
from torch import nn

from ultra_blocks.config import ModelConfigError
from ultra_blocks.encoder import Encoder, UltraConfig
from ultra_blocks.layout import Layout
from ultra_blocks.linear import BitLinear
from ultra_blocks.norms.dynamic_tanh import DynamicTanh
from ultra_core import blocks, ffns
from ultra_core.contracts import FromModel
from ultra_core.errors import PluginError

PATTERNS = [["standard_attn"], ["retnet", "gqa_attn"], [{"standard_attn": {"window": 4}}], ["titan_attn"]]


def config(**fields):
    small = {
        "vocab_size": 40,
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 4,
        "retention_heads": 4,
        "ffn_hidden_size": 24,
        "use_moe": False,
        "dropout": 0.0,
        "initializer_range": 0.3,
    }
    return UltraConfig(**{**small, **fields})


def make(**fields):
    torch.manual_seed(0)
    return Encoder(config(**fields)).double()


def rel(a, b):
    return ((a - b).abs().max() / (b.abs().max() + 1e-30)).item()


WHOLE = [
    {"layer_pattern": PATTERNS[0]},
    {"layer_pattern": PATTERNS[1], "num_loops": 2},
    {"layer_pattern": PATTERNS[2], "positions": "alibi"},
    {"positions": "learned"},
    {"use_factorized_embedding": True, "factorized_embedding_dim": 6, "use_embedding_conv": True,
     "embedding_conv_kernel": 4},
    {"use_bitnet": True, "ffn": "glu"},
    {"norm_type": "derf"},
    {"norm_placement": "post", "positions": {"learned": {"max_positions": 20, "offset": 2}}},
    {"norm_placement": "post", "layer_pattern": ["retnet", "ode"], "num_loops": 2},
    {"first_norm": False, "layer_pattern": ["standard_attn", {"standard_attn": {"window": 4}}]},
    {"causal": True, "layer_pattern": PATTERNS[1], "use_embedding_conv": True},
]  # fmt: skip


@pytest.mark.parametrize("fields", WHOLE)
class TestExactness:
    """SPEC 4.1 B1, B7 and B16 over the whole model, forward and gradients of all weights."""

    # the quantiser rounds: a difference in the last bit may move a value by one step
    def tolerance(self, fields):
        return 0.1 if fields.get("use_bitnet") else 1e-11

    def test_padding_changes_nothing(self, fields):
        encoder = make(**fields)
        ids = torch.randint(40, (2, 7))
        alone = encoder(ids).hidden
        mask = torch.tensor(
            [[0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0], [0] * 11]
        ).bool()
        outputs, gradients = [], []
        for rubbish in (39, 10**9):
            padded = torch.full((3, 11), rubbish)
            padded[mask] = ids.flatten()
            hidden = encoder(padded, Layout.from_mask(mask)).hidden
            outputs.append(hidden)
            gradients.append(torch.autograd.grad(hidden.square().sum(), list(encoder.parameters())))
        assert torch.equal(outputs[0], outputs[1])
        assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
        assert torch.equal(outputs[0][~mask], torch.zeros_like(outputs[0][~mask]))
        assert rel(outputs[0][mask].view(2, 7, -1), alone) < self.tolerance(fields)

    def test_packed_documents_are_as_alone(self, fields):
        encoder = make(**fields)
        documents = [torch.randint(40, (1, length)) for length in (3, 5, 1)]
        packed = encoder(
            torch.cat([*documents, torch.zeros(1, 2, dtype=torch.long)], 1),
            Layout.from_mask(
                torch.tensor([[True] * 9 + [False] * 2]), torch.tensor([[0] * 3 + [1] * 5 + [2] + [-1] * 2])
            ),
        ).hidden
        alone = torch.cat([encoder(ids).hidden for ids in documents], 1)
        assert rel(packed[:, :9], alone) < self.tolerance(fields)
        assert torch.equal(packed[:, 9:], torch.zeros_like(packed[:, 9:]))

    def test_every_parameter_gets_a_gradient(self, fields):
        encoder = make(**fields)
        hidden = encoder(torch.randint(40, (3, 12))).hidden
        (hidden * torch.randn_like(hidden)).sum().backward()
        assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_embeddings_given_may_hold_nan_at_padding():
    encoder = make()
    mask = torch.tensor([[True, True, False]])
    x = torch.randn(1, 3, 16, dtype=torch.float64)
    poisoned = torch.where(mask[..., None], x, float("nan")).requires_grad_()
    hidden = encoder(inputs_embeds=poisoned, layout=Layout.from_mask(mask)).hidden
    hidden.square().sum().backward()
    assert rel(hidden[:, :2], encoder(inputs_embeds=x[:, :2]).hidden) < 1e-12
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)
    with pytest.raises(ValueError, match="both are None"):
        encoder()


def test_layer_is_pre_norm_with_residuals():
    encoder = make(num_layers=1)
    (layer,) = encoder.layers
    ids = torch.randint(40, (2, 5))
    x = encoder.embeddings(ids, Layout.full(2, 5))
    x = x + layer.mixer(layer.mixer_norm(x))
    x = x + layer.ffn(layer.ffn_norm(x))
    torch.testing.assert_close(encoder(ids).hidden, encoder.norm(x), rtol=0, atol=1e-14)


def test_post_norm_layers_normalise_the_sums():
    encoder = make(num_layers=1, norm_placement="post")
    (layer,) = encoder.layers
    ids = torch.randint(40, (2, 5))
    x = encoder.embeddings(ids, Layout.full(2, 5))
    x = layer.mixer_norm(x + layer.mixer(x))
    x = layer.ffn_norm(x + layer.ffn(x))
    torch.testing.assert_close(encoder(ids).hidden, x, rtol=0, atol=1e-14)
    assert not list(encoder.norm.parameters())


def test_post_norm_draws_output_projections_as_all_others():
    encoder = Encoder(config(hidden_size=64, norm_placement="post", initializer_range=0.1, num_layers=8))
    outputs = torch.stack([layer.ffn.down.weight.std() for layer in encoder.layers])
    assert (outputs - 0.1).abs().max() < 0.01


def test_the_first_norm_may_be_that_of_the_embeddings():
    encoder = make(first_norm=False)
    first, second = encoder.layers
    assert isinstance(first.mixer_norm, nn.Identity)
    assert not isinstance(second.mixer_norm, nn.Identity)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"norm_placement": "post"}, "norm_placement is post, where no mixer has one"),
        ({"num_loops": 2}, "num_loops is 2: the embeddings are normalised before the first run"),
    ],
)
def test_the_first_norm_is_left_out_only_behind_that_of_the_embeddings(fields, message):
    with pytest.raises(ModelConfigError, match=message):
        Encoder(config(first_norm=False, **fields))


def test_token_types_are_added_and_may_be_anything_at_padding():
    encoder = make(type_vocab_size=3)
    mask = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1]]).bool()
    ids, types = torch.randint(40, (2, 4)), torch.tensor([[2, 0, 1, 99], [-7, 1, 1, 0]])
    hidden = encoder(ids, Layout.from_mask(mask), token_type_ids=types).hidden
    for row in range(2):
        alone = ids[row][mask[row]], types[row][mask[row]]
        embedded = encoder.embeddings.tokens(alone[0]) + encoder.embeddings.types(alone[1])
        torch.testing.assert_close(
            hidden[row][mask[row]],
            encoder(inputs_embeds=(embedded - encoder.embeddings.types.weight[0])[None]).hidden[0],
            rtol=0,
            atol=1e-13,
        )
    zeros = encoder(ids, token_type_ids=torch.zeros_like(ids)).hidden
    assert torch.equal(encoder(ids).hidden, zeros)
    with pytest.raises(ValueError, match="no embeddings of token types"):
        make()(ids, token_type_ids=types)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_two_loops_equal_a_stack_with_tied_modules(pattern):
    looped = make(num_loops=2, layer_pattern=pattern)
    stacked = make(num_layers=4, layer_pattern=pattern)
    stacked.load_state_dict(looped.state_dict(), strict=False)
    stacked.layers = nn.ModuleList([*looped.layers, *looped.layers])
    ids = torch.randint(40, (2, 6))
    assert torch.equal(looped(ids).hidden, stacked(ids).hidden)
    weights = torch.randn(2, 6, 16, dtype=torch.float64)
    ours, theirs = (
        torch.autograd.grad((e(ids).hidden * weights).sum(), list(e.parameters())) for e in (looped, stacked)
    )
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_checkpointing_changes_nothing(pattern):
    encoder = make(layer_pattern=pattern, dropout=0.2)
    ids = torch.randint(40, (2, 6))
    layout = Layout.from_mask(torch.tensor([[True] * 6, [True] * 4 + [False] * 2]))
    gradients = []
    for recompute in (False, True):
        encoder.gradient_checkpointing = recompute
        torch.manual_seed(1)
        loss = encoder(ids, layout).hidden.square().sum()
        gradients.append(torch.autograd.grad(loss, list(encoder.parameters())))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_one_graph_for_the_compiler(pattern):
    encoder = make(layer_pattern=pattern, use_embedding_conv=True)
    ids = torch.randint(40, (2, 6))
    layout = Layout.from_mask(torch.tensor([[True] * 6, [True] * 4 + [False] * 2]))
    compiled = torch.compile(encoder, backend="eager", fullgraph=True)
    assert rel(compiled(ids, layout).hidden, encoder(ids, layout).hidden) < 1e-12


@pytest.mark.parametrize("pattern", PATTERNS)
def test_bf16_autocast(pattern):
    encoder = make(layer_pattern=pattern).float()
    ids = torch.randint(40, (2, 6))
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder(ids).hidden.float()
    full = encoder(ids).hidden
    assert ((half - full).norm() / full.norm()).item() < 5e-2


def test_states_of_every_layer():
    encoder = make(num_loops=2)
    mask = torch.tensor([[True, True, False]])
    output = encoder(torch.randint(40, (1, 3)), Layout.from_mask(mask), collect=True)
    assert len(output.states) == 5
    assert output.states[-1] is output.hidden
    assert all(torch.equal(state[0, 2], torch.zeros(16, dtype=torch.float64)) for state in output.states)


def test_first_weights():
    torch.manual_seed(0)
    encoder = Encoder(config(hidden_size=128, ffn_hidden_size=256, initializer_range=0.05, num_loops=3))
    layer = encoder.layers[0]
    scaled = 0.05 / math.sqrt(2 * 2 * 3)
    assert layer.ffn.down.weight.std().item() == pytest.approx(scaled, rel=0.05)
    assert layer.mixer.out_proj.weight.std().item() == pytest.approx(scaled, rel=0.05)
    assert layer.ffn.up.weight.std().item() == pytest.approx(0.05, rel=0.05)
    assert encoder.embeddings.tokens.weight.std().item() == pytest.approx(0.05, rel=0.05)


def test_parameter_count():
    # standard: embeddings, their norm, per layer 4 D^2 + 2 D F + two norms, final norm
    encoder = Encoder(config())
    expected = 40 * 16 + 2 * 16 + 2 * (4 * 16**2 + 2 * 16 * 24 + 2 * 2 * 16) + 2 * 16
    assert sum(p.numel() for p in encoder.parameters()) == expected


def test_every_option_reaches_its_plugin():
    encoder = Encoder(
        config(
            layer_pattern=[{"standard_attn": {"num_heads": 2}}, "gqa_attn"],
            norm_type={"rms_norm": {"eps": 0.5}},
            ffn={"glu": {"bias": True}},
            ffn_activation="gelu",
            use_bitnet=True,
            num_kv_heads=2,
        )
    )
    first, second = encoder.layers
    assert (first.mixer.num_heads, second.mixer.num_heads, second.mixer.num_kv_heads) == (2, 4, 2)
    assert encoder.norm.eps == first.ffn_norm.eps == 0.5
    assert (first.ffn.activation, first.ffn.has_bias) == ("gelu", True)
    assert [m.place for m in (first.mixer_norm, first.ffn_norm, encoder.norm, encoder.embeddings.norm)] == [
        "mixer", "ffn", "final", "embedding",
    ]  # fmt: skip
    ternary = {name for name, m in encoder.named_modules() if isinstance(m, BitLinear)}
    assert {name.split(".")[0] for name in ternary} == {"layers"}  # a19: never embeddings or norms
    assert any(name.endswith("gate_up") for name in ternary)


def test_learned_positions_are_in_the_embeddings_once():
    encoder = Encoder(config(positions="learned", max_positions=9))
    names = [name for name, _ in encoder.named_parameters() if "positions" in name]
    assert len(names) == 1
    assert names[0].startswith("embeddings.")


def test_no_embedding_norm():
    assert Encoder(config(embedding_norm=False)).embeddings.norm is None


class Plain(nn.Module):
    """What a third party may write: no base class, a loss of its own."""

    def __init__(self, hidden_size: int, *, depth: Annotated[int, FromModel("num_layers")] = 0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(hidden_size))
        self.depth = depth

    def forward(self, x, layout=None):
        return x * self.scale, {"balance": self.scale.sum()}


class PlainFFN(nn.Module):
    def __init__(self, hidden_size: int, ffn_hidden_size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((hidden_size,), 0.5))

    def forward(self, x, layout=None):
        return x * self.scale, {"balance": self.scale.sum(), "z": self.scale.mean()}


def test_plugins_without_our_base_classes_and_their_losses(monkeypatch):
    monkeypatch.setattr(blocks, "_added", [])
    monkeypatch.setattr(ffns, "_added", [])
    blocks.add("plain", Plain)
    ffns.add("plain", PlainFFN)
    encoder = Encoder(config(layer_pattern=["plain"], ffn="plain", num_loops=3))
    assert encoder.layers[0].mixer.depth == 2
    for recompute in (False, True):
        encoder.gradient_checkpointing = recompute
        losses = encoder(torch.randint(40, (1, 3))).losses
        assert {name: loss.item() for name, loss in losses.items()} == {"balance": 144.0, "z": 3.0}


def test_a_wrong_config_is_refused():
    with pytest.raises(ModelConfigError, match="num_heads"):
        Encoder(config(num_heads=3))


def test_slopes_of_a_norm_by_place():
    norm = {"dynamic_tanh": {"alpha_init": {"mixer": 0.8, "ffn": 0.2}}}
    encoder = Encoder(config(norm_type=norm))
    found = {(m.place, round(m.alpha.item(), 6)) for m in encoder.modules() if isinstance(m, DynamicTanh)}
    assert {("mixer", 0.8), ("ffn", 0.2), ("final", 0.5)} <= found


class TestBuilding:
    """An error that a plugin raises when it is built names the plugin and the field."""

    def test_what_it_refuses(self):
        with pytest.raises(ModelConfigError, match=r"layer_pattern.0: .*even width"):
            Encoder(config(hidden_size=12, num_heads=4, retention_heads=4))

    def test_all_that_is_refused_is_said_at_once(self):
        pattern = ["standard_attn", {"gla": {"key_expansion": 0.01}}, {"hgrn2": {"conv_size": 4}}]
        with pytest.raises(ModelConfigError) as caught:
            Encoder(config(layer_pattern=pattern, norm_type={"derf": {"alpha_init": -1.0}}))
        assert [path for path, _ in caught.value.faults] == [
            ("norm_type", "derf", "alpha_init"),
            ("layer_pattern", 1, "gla"),
            ("layer_pattern", 2, "hgrn2"),
        ]

    def test_where_it_is_broken(self, monkeypatch):
        class Broken(nn.Module):
            """Cannot be built."""

            def __init__(self, hidden_size: int) -> None:
                raise KeyError("weights")

        monkeypatch.setattr(blocks, "_added", [])
        blocks.add("broken_block", Broken, source="a-plugin")
        with pytest.raises(PluginError, match=r"'broken_block' of a-plugin .*cannot be built: KeyError"):
            Encoder(config(layer_pattern=["broken_block"]))
