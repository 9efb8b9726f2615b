"""The mixture against the dense sum, one token at a time, its losses, and what the preset may say."""

from typing import Annotated

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from support.tensors import randomise
from ultra_blocks.config import UltraConfig
from ultra_blocks.encoder import Encoder
from ultra_blocks.ffn.base import ACTIVATIONS
from ultra_blocks.ffn.experts import SeparateExperts, StackedGLU, StackedMLP
from ultra_blocks.ffn.glu import GLU
from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.ffn.moe import MoE
from ultra_blocks.hf import UltraForMaskedLM, UltraHFConfig
from ultra_blocks.layout import Layout
from ultra_blocks.linear import BitLinear
from ultra_blocks.reference.moe import mixture
from ultra_core import ffns
from ultra_core.contracts import FromModel, ParamInfo
from ultra_core.plugins.signatures import read_options

WIDTH, INNER = 6, 10


class Plain(nn.Module):
    """An FFN that the mixture does not know."""

    def __init__(
        self, hidden_size: int, ffn_hidden_size: int, *, depth: Annotated[int, FromModel("num_layers")] = 1
    ) -> None:
        super().__init__()
        self.depth = depth
        self.first = nn.Linear(hidden_size, ffn_hidden_size)
        self.second = nn.Linear(ffn_hidden_size, hidden_size)

    def forward(self, x, layout=None):
        return self.second(torch.tanh(self.first(x)))


@pytest.fixture(autouse=True)
def _plain(monkeypatch):
    monkeypatch.setattr(ffns, "_added", [])
    ffns.add("plain", Plain)


def awake(module, seed=0):
    return randomise(module, scale=0.6, seed=seed).double()


def build(**options):
    torch.manual_seed(0)
    return awake(MoE(WIDTH, INNER, **{"num_experts": 5, "top_k": 2, **options})).eval()


def inputs(batch=2, length=7, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, WIDTH, generator=g, dtype=torch.float64)


def single(moe, e, cls):
    """Return expert e as a dense FFN that shares its weights."""
    if isinstance(moe.experts, SeparateExperts):
        return moe.experts[e]
    named = {name: stack[e] for name, stack in moe.experts.named_parameters()}
    first = named.get("up.bias", named.get("gate_up.bias"))
    activation = next(name for name, f in ACTIVATIONS.items() if f is moe.experts.activation)
    dense = cls(WIDTH, INNER, activation=activation, bias=first is not None).double().eval()
    return lambda x: torch.func.functional_call(dense, named, (x,))


OPTIONS = st.fixed_dictionaries(
    {
        "top_k": st.integers(1, 5),
        "expert": st.sampled_from(
            ["mlp", "glu", "plain", {"mlp": {"bias": True, "activation": "relu2"}}, {"glu": {"bias": True}}]
        ),
        "routing": st.sampled_from(["softmax", "sigmoid"]),
        "renormalise": st.sampled_from([None, True, False]),
        "route_scale": st.sampled_from([1.0, 2.5]),
        "shared_experts": st.sampled_from([0, 2]),
    }
)


@given(OPTIONS, st.integers(1, 6), st.sampled_from([0.6, 2.0]), st.integers(0, 99))
def test_equals_the_reference_forward_and_backward(options, length, real, seed):
    g = torch.Generator().manual_seed(seed)
    moe = build(**options, balance_weight=0.3, z_weight=0.2).train()
    x, mask = inputs(2, length, seed), torch.rand(2, length, generator=g) < real
    mask[0, 0] = True
    x = x.masked_fill(~mask[..., None], float("nan")).requires_grad_()
    y, losses = moe(x, Layout.from_mask(mask))

    name = options["expert"] if isinstance(options["expert"], str) else next(iter(options["expert"]))
    cls = {"mlp": MLP, "glu": GLU, "plain": Plain}[name]
    experts = [single(moe, e, cls) for e in range(5)]
    wanted, balance, z = mixture(
        x[mask],
        moe.router.weight,
        experts,
        options["top_k"],
        sigmoid=options["routing"] == "sigmoid",
        renormalise=moe.renormalise,
        scale=options["route_scale"],
    )
    if moe.shared is not None:
        wanted = wanted + moe.shared(x[mask][None])[0]
    torch.testing.assert_close(y[mask], wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(losses["moe_balance"], 0.3 * balance, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(losses["moe_z"], 0.2 * z, rtol=1e-12, atol=1e-12)
    assert (y[~mask] == 0).all()
    noise = torch.randn(wanted.shape, generator=g, dtype=torch.float64)
    leaves = [x, *moe.parameters()]
    ours = torch.autograd.grad((y[mask] * noise).sum() + sum(losses.values()), leaves)
    theirs = torch.autograd.grad(
        (wanted * noise).sum() + 0.3 * balance + 0.2 * z, leaves, materialize_grads=True
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("expert", "cls"), [("mlp", MLP), ("glu", GLU)])
def test_all_experts_are_the_dense_mixture(expert, cls):
    moe, x = build(top_k=5, expert=expert), inputs()
    weights = (x @ moe.router.weight.T).softmax(-1)
    dense = sum(weights[..., e, None] * single(moe, e, cls)(x) for e in range(5))
    torch.testing.assert_close(moe(x), dense, rtol=0, atol=1e-12)


@pytest.mark.parametrize("routing", ["softmax", "sigmoid"])
@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_identical_experts_are_one(routing, top_k):
    moe, x = build(top_k=top_k, routing=routing, renormalise=True), inputs()
    with torch.no_grad():
        for p in moe.experts.parameters():
            p.copy_(p[:1].expand_as(p))
    torch.testing.assert_close(moe(x), single(moe, 0, MLP)(x), rtol=0, atol=1e-12)


def test_order_of_tokens_is_order_of_outputs():
    moe, x = build().train(), inputs(1, 23)
    index = torch.randperm(23, generator=torch.Generator().manual_seed(0))
    (y, losses), (moved, others) = moe(x), moe(x[:, index])
    torch.testing.assert_close(moved, y[:, index], rtol=0, atol=1e-13)
    for name, loss in losses.items():
        torch.testing.assert_close(others[name], loss, rtol=0, atol=1e-14)


@pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), 1e4])
def test_padding_changes_neither_outputs_nor_losses(rubbish):
    moe, x = build().train(), inputs(1, 9)
    mask = torch.ones(2, 14, dtype=torch.bool)
    mask[0, [0, 3, 4, 12, 13]] = mask[1] = False
    padded = torch.full((2, 14, WIDTH), rubbish, dtype=torch.float64)
    padded[mask] = x[0]
    padded.requires_grad_()
    (y, losses), (alone, wanted) = moe(padded, Layout.from_mask(mask)), moe(x)
    torch.testing.assert_close(y[mask], alone[0], rtol=0, atol=1e-13)
    assert (y[~mask] == 0).all()
    assert losses.keys() == wanted.keys() == {"moe_balance", "moe_z"}
    for name, loss in wanted.items():
        torch.testing.assert_close(losses[name], loss, rtol=0, atol=1e-14)
    (gradient,) = torch.autograd.grad(y.sum() + sum(losses.values()), padded)
    assert (gradient[~mask] == 0).all()
    assert gradient[mask].isfinite().all()


@given(st.integers(0, 30), st.integers(1, 5), st.sampled_from(["softmax", "sigmoid"]))
def test_loads_add_up_to_k_times_the_real_tokens(tokens, top_k, routing):
    routed = build(top_k=top_k, routing=routing).route(inputs(1, tokens)[0])
    assert routed.loads.sum() == top_k * tokens
    assert routed.loads.tolist() == [int((routed.experts == e).sum()) for e in range(5)]
    assert all(len(set(row)) == top_k for row in routed.experts.tolist())


def test_balance_loss_is_1_when_even_and_e_when_one_has_it_all():
    moe = build(top_k=1, balance_weight=1.0, z_weight=1.0).train()
    with torch.no_grad():
        moe.router.weight.zero_()
    losses = moe(inputs())[1]
    assert losses["moe_balance"].item() == pytest.approx(1.0, abs=1e-12)
    assert losses["moe_z"].item() == pytest.approx(torch.tensor(5.0).log().item() ** 2, rel=1e-6)
    with torch.no_grad():
        moe.router.weight[2] = 100.0
    losses = moe(inputs().abs())[1]
    assert losses["moe_balance"].item() == pytest.approx(5.0, abs=1e-9)


def test_even_loads_cost_1_whatever_the_probabilities():
    """Each token prefers two experts of its own, at different strengths."""
    moe = MoE(4, 4, num_experts=4, top_k=2, balance_weight=1.0, z_weight=0.0).train()
    with torch.no_grad():
        moe.router.weight.copy_(torch.eye(4) + torch.eye(4).roll(1, 0) * 0.5)
    y, losses = moe(torch.eye(4)[None])
    assert moe.route(torch.eye(4)).loads.tolist() == [2, 2, 2, 2]
    assert losses["moe_balance"].item() == pytest.approx(1.0, abs=1e-6)
    assert losses.keys() == {"moe_balance"}
    assert y.shape == (1, 4, 4)


@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("routing", ["softmax", "sigmoid"])
def test_the_task_teaches_the_router(top_k, routing):
    moe = build(top_k=top_k, routing=routing)
    moe(inputs()).square().sum().backward()
    assert moe.router.weight.grad.abs().max() > 1e-3


def test_losses_are_for_training_alone():
    moe, x = build(), inputs()
    assert torch.equal(moe(x), moe.train()(x)[0])


def test_a_batch_of_padding_gives_zeros():
    moe, mask = build(shared_experts=1).train(), torch.zeros(2, 3, dtype=torch.bool)
    x = torch.full((2, 3, WIDTH), float("nan"), dtype=torch.float64, requires_grad=True)
    y, losses = moe(x, Layout.from_mask(mask))
    assert (y == 0).all()
    assert all(loss == 0 for loss in losses.values())
    (y.sum() + sum(losses.values())).backward()
    assert all(p.grad.isfinite().all() for p in (x, *moe.parameters()))


@pytest.mark.parametrize("cls", [MLP, GLU])
def test_ternary_experts_are_quantised_one_by_one(cls):
    moe, x = build(expert=cls.__name__.lower(), linear=BitLinear), inputs()
    with torch.no_grad():
        for e in range(5):  # scales that would show if experts shared one
            moe.experts.down.weight[e] *= 10.0**e
    assert type(moe.router) is nn.Linear
    dense = []
    for e in range(5):
        one = cls(WIDTH, INNER, linear=BitLinear, activation="gelu" if cls is MLP else "silu").double()
        one.load_state_dict({name: stack[e] for name, stack in moe.experts.named_parameters()})
        dense.append(one)
    wanted, _, _ = mixture(x.flatten(0, 1), moe.router.weight, dense, 2)
    torch.testing.assert_close(moe(x).flatten(0, 1), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("expert", ["mlp", "glu"])
@pytest.mark.parametrize("linear", [nn.Linear, BitLinear])
def test_single_and_half_precision_stay_close(expert, linear):
    """fp32 takes torch's grouped product, fp64 the loop; the router decides in fp32 under autocast too."""
    exact = awake(MoE(16, 32, expert=expert, linear=linear)).eval()
    x = torch.randn(2, 9, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = exact(x)
    moe = MoE(16, 32, expert=expert, linear=linear).eval()
    moe.load_state_dict(exact.state_dict())
    leaf = x.float().requires_grad_()
    y = moe(leaf)
    assert (y - wanted).norm() < 1e-5 * wanted.norm()
    y.square().sum().backward()
    leaves = [x.requires_grad_(), *exact.parameters()]
    gradients = torch.autograd.grad(exact(x).square().sum(), leaves)
    for ours, theirs in zip((leaf, *moe.parameters()), gradients, strict=True):
        assert (ours.grad - theirs).norm() < 1e-4 * theirs.norm()
    with torch.autocast("cpu", torch.bfloat16):
        half = moe(x.float())
    assert half.dtype == torch.bfloat16
    assert (half - wanted).norm() < 3e-2 * wanted.norm()


def test_parameters():
    moe = MoE(WIDTH, INNER, num_experts=3, top_k=1, expert={"glu": {"bias": True}}, shared_experts=2)
    assert isinstance(moe.experts, StackedGLU)
    shapes = {name: tuple(p.shape) for name, p in moe.named_parameters()}
    assert shapes == {
        "router.weight": (3, 6),
        "experts.gate_up.weight": (3, 20, 6),
        "experts.gate_up.bias": (3, 20),
        "experts.down.weight": (3, 6, 10),
        "experts.down.bias": (3, 6),
        "shared.gate_up.weight": (40, 6),
        "shared.gate_up.bias": (40,),
        "shared.down.weight": (6, 20),
        "shared.down.bias": (6,),
    }
    assert moe.parameter_info() == {"router.weight": ParamInfo(kind="router", decay=False)}
    assert moe.experts.gate_up.parameter_info() == {
        "weight": ParamInfo(kind="expert", expert_dim=0, row_blocks=(10, 10)),
        "bias": ParamInfo(kind="vector", decay=False),
    }


@pytest.mark.parametrize("linear", [nn.Linear, BitLinear])
def test_first_weights(linear):
    torch.manual_seed(0)
    moe = MoE(64, 128, expert="mlp", linear=linear, shared_experts=1)
    moe.reset_parameters(std=0.05, residual_scale=0.1)
    assert isinstance(moe.experts, StackedMLP)
    for down in (moe.experts.down.weight, moe.shared.down.weight):
        assert down.std().item() == pytest.approx(0.005, rel=0.05)
    for weight in (moe.router.weight, moe.experts.up.weight):
        assert weight.std().item() == pytest.approx(0.05, rel=0.1)


def test_experts_drop_in_training_only():
    moe, x = build(expert={"mlp": {"dropout": 0.5}}), inputs()
    assert torch.equal(moe(x), moe(x))
    assert not torch.equal(moe.train()(x)[0], moe(x)[0])


def test_any_ffn_is_an_expert_and_reads_the_model():
    sizes = {"vocab_size": 9, "hidden_size": 8, "num_layers": 3, "num_heads": 2, "num_experts": 3}
    moe = Encoder(UltraConfig(**sizes, ffn="plain", use_moe=True)).layers[0].ffn
    assert isinstance(moe.experts, SeparateExperts)
    assert [expert.depth for expert in moe.experts] == [3, 3, 3]
    assert moe.top_k == 2


@pytest.mark.parametrize("use_bitnet", [False, True])
def test_its_losses_are_in_the_loss_of_a_model(use_bitnet):
    torch.manual_seed(0)
    fields = {"vocab_size": 30, "hidden_size": 16, "num_heads": 2, "ffn_hidden_size": 24, "num_experts": 3}
    config = UltraHFConfig(**fields, num_layers=2, num_loops=2, dropout=0.0, use_bitnet=use_bitnet)
    model = UltraForMaskedLM(config).train()
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    ids = torch.randint(30, (2, 9))
    labels = torch.where(mask & (torch.arange(9) % 2 == 0), ids, -100)
    batch = {"input_ids": ids, "attention_mask": mask.long(), "labels": labels}
    output = model(**batch)
    said = model.model(ids, mask.long()).losses
    task = torch.nn.functional.cross_entropy(output.logits, labels[labels != -100])
    torch.testing.assert_close(output.loss, task + said["moe_balance"] + said["moe_z"])
    assert said["moe_balance"].item() == pytest.approx(0.04, rel=0.1), "four even passes at 1e-2"
    found = []
    for recompute in (False, True):
        model.model.encoder.gradient_checkpointing = recompute
        model.zero_grad()
        model(**batch).loss.backward()
        found.append([p.grad.clone() for p in model.parameters()])
    for kept, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(recomputed, kept, rtol=0, atol=1e-6)
    assert all(layer.ffn.router.weight.grad.abs().max() > 0 for layer in model.model.encoder.layers)
    share = [
        model(**{k: v[i : i + 1] for k, v in batch.items()}, num_items_in_batch=7).loss for i in range(2)
    ]
    assert sum(share).item() == pytest.approx(output.loss.item(), rel=1e-2), "balance is of a micro-batch"
    assert model.eval().model(ids, mask.long()).losses is None


def test_an_expert_with_losses_is_refused():
    class Losing(Plain):
        def forward(self, x, layout=None):
            return super().forward(x), {}

    ffns.add("losing", Losing)
    with pytest.raises(ValueError, match="Losing has auxiliary losses"):
        build(expert="losing")(inputs())


def test_options():
    options = read_options(MoE)
    assert (options["num_experts"].from_model, options["top_k"].from_model) == (
        "num_experts",
        "top_k_experts",
    )
    assert options["expert"].settable
    assert not options["model"].settable


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 6}, "top_k must be 1 to num_experts=5; given 6"),
        ({"top_k": 0}, "top_k must be 1"),
        ({"expert": {"moe": {}}}, "cannot be a mixture of experts itself"),
        ({"routing": "hash"}, "routing is 'hash'; expected one of 'softmax'"),
        ({"shared_experts": -1}, "shared_experts is -1; expected"),
        ({"balance_weight": -1.0}, "balance_weight is -1.0; expected"),
        ({"route_scale": 0.0}, "route_scale is 0.0; expected"),
        ({"bias_rate": 0.0}, "bias_rate is 0.0; expected"),
        ({"balance": "luck"}, "balance is 'luck'; expected one of"),
        ({"balance": "bias"}, "balance 'bias' requires routing 'sigmoid'"),
        ({"expert": {"mlp": {"activation": "gelo"}}}, "activation must be one of"),
    ],
)
def test_wrong_options_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
