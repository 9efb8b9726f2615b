"""The bias of the scores: who is chosen, when it moves, and what is counted for it."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from ultra_blocks.encoder.post_step import after_step
from ultra_blocks.ffn.moe import MoE
from ultra_blocks.hf import UltraForMaskedLM, UltraHFConfig, UltraModel
from ultra_blocks.layout import Layout
from ultra_blocks.reference.moe import after_step as moved
from ultra_blocks.reference.moe import mixture

WIDTH = 6
BIAS = {"moe": {"routing": "sigmoid", "balance": "bias"}}


def build(**options):
    torch.manual_seed(0)
    moe = MoE(WIDTH, 10, **{"num_experts": 5, "routing": "sigmoid", "balance": "bias", **options}).double()
    with torch.no_grad():
        moe.router.weight.copy_(torch.randn(5, WIDTH))
    return moe.train()


def inputs(batch=2, length=7, seed=1):
    return torch.randn(
        batch, length, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def backward(moe, x, layout=None, call=None):
    y, losses = (call or moe)(x, layout)
    (y.square().sum() + sum(losses.values())).backward()


def test_the_bias_chooses_and_does_not_weigh():
    moe, x = build(balance_weight=0.3), inputs()
    with torch.no_grad():
        moe.score_bias.copy_(torch.tensor([0.6, -0.7, 0.0, 0.9, -0.2]))
    experts = [
        lambda row, e=e: (
            torch.nn.functional.gelu(row @ moe.experts.up.weight[e].T) @ moe.experts.down.weight[e].T
        )
        for e in range(5)
    ]
    y, losses = moe(x)
    tokens, router = x.flatten(0, 1), moe.router.weight
    wanted, balance, _ = mixture(tokens, router, experts, 2, sigmoid=True, b=moe.score_bias)
    torch.testing.assert_close(y.flatten(0, 1), wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(losses["moe_balance"], 0.3 * balance, rtol=0, atol=1e-12)
    without, _, _ = mixture(tokens, router, experts, 2, sigmoid=True)
    assert (wanted - without).abs().max() > 1e-3, "this bias moves no token"
    assert moe.route(tokens).loads.equal(torch.bincount(moe.route(tokens).experts.flatten(), minlength=5))
    assert torch.equal(moe.eval()(x), y), "evaluation chooses as training does"


def test_a_step_moves_it_against_the_loads():
    moe, mask = build(bias_rate=0.25), torch.ones(2, 7, dtype=torch.bool)
    mask[1, 3:] = False
    layout, x = Layout.from_mask(mask), inputs()
    loads = moe.route(x[mask]).loads
    assert len(set(loads.tolist())) > 2
    backward(moe, x.masked_fill(~mask[..., None], float("nan")), layout)
    assert moe.loads.equal(loads), "padding is counted"
    assert (moe.score_bias == 0).all(), "forward or backward moves it"
    after_step(moe)
    assert torch.equal(moe.score_bias, moved(torch.zeros(5, dtype=torch.float64), loads, 0.25))
    assert set(moe.score_bias.sign().tolist()) == {-1.0, 1.0}
    assert moe.loads is None
    before = moe.score_bias.clone()
    after_step(moe)
    assert torch.equal(moe.score_bias, before), "a step without tokens moves it"


def test_loads_even_out():
    moe, x = build(bias_rate=0.005), inputs(4, 60)
    spread = []
    for _ in range(150):
        backward(moe, x)
        spread.append((moe.loads.max() - moe.loads.min()).item())
        after_step(moe)
    assert max(spread[-10:]) < 0.3 * spread[0]


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputation_counts_once(reentrant):
    moe, x = build(), inputs()

    def again(x, layout):
        y, losses = checkpoint(moe, x.requires_grad_(), layout, use_reentrant=reentrant)
        return y, losses

    backward(moe, x, call=again)
    assert moe.loads.equal(moe.route(x.flatten(0, 1)).loads)


def test_every_micro_batch_counts_once():
    moe = build()
    for seed in (1, 2, 3):
        backward(moe, inputs(seed=seed))
    together = torch.cat([inputs(seed=seed) for seed in (1, 2, 3)]).flatten(0, 1)
    assert moe.loads.equal(moe.route(together).loads)


def test_what_is_not_trained_on_is_not_counted():
    moe, x = build(), inputs()
    with torch.no_grad():
        moe(x)
    moe(x)  # no gradient comes
    moe.eval()(x).sum().backward()
    assert moe.loads is None


def test_a_step_that_was_skipped_is_forgotten():
    moe, x = build(), inputs()
    backward(moe, x)
    after_step(moe, taken=False)
    assert moe.loads is None
    assert (moe.score_bias == 0).all()


def test_it_moves_by_the_loads_of_all_processes(monkeypatch):
    """Also where this process had no token; the other one sends all of its to expert 1."""
    other = torch.tensor([0, 1000, 0, 0, 0])
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda loads: loads.add_(other))
    for seeds in ((), (1,)):
        moe = build(bias_rate=0.5)
        for seed in seeds:
            backward(moe, inputs(seed=seed))
        after_step(moe)
        assert moe.score_bias.tolist() == [0.5, -0.5, 0.5, 0.5, 0.5]


def test_half_precision_loses_no_step():
    moe = build().to(torch.bfloat16)
    moe.score_bias.fill_(0.5)
    backward(moe, inputs().bfloat16())
    after_step(moe)
    assert moe.score_bias.dtype is torch.float32
    assert (moe.score_bias - 0.5).abs().max().item() == pytest.approx(1e-3, rel=1e-3)
    assert build().score_bias.dtype is torch.float64


def test_balance_by_loss_has_no_bias():
    moe = build(balance="loss")
    backward(moe, inputs())
    after_step(moe)
    assert not list(moe.buffers())
    assert (moe.balance_weight, build().balance_weight) == (1e-2, 1e-4)


def model(seed=0, **options):
    torch.manual_seed(seed)
    sizes = {"vocab_size": 30, "hidden_size": 16, "num_heads": 2, "ffn_hidden_size": 24, "num_experts": 4}
    return UltraForMaskedLM(UltraHFConfig(**sizes, num_layers=2, dropout=0.0, ffn=BIAS, **options)).train()


def steps(model, optimizer, numbers):
    for number in numbers:
        g = torch.Generator().manual_seed(number)
        ids = torch.randint(30, (2, 9), generator=g)
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        after_step(model)


def test_a_model_counts_each_pass_whether_it_recomputes_or_not():
    found = []
    for recompute in (False, True):
        net = model(num_loops=2)
        net.model.encoder.gradient_checkpointing = recompute
        ids = torch.arange(18).view(2, 9)
        net(ids, labels=ids).loss.backward()
        found.append([layer.ffn.loads for layer in net.model.encoder.layers])
    for kept, recomputed in zip(*found, strict=True):
        assert kept.sum() == 2 * 18 * 2, "two loops of 18 tokens with two experts"
        assert torch.equal(kept, recomputed)


def test_a_run_resumed_from_its_state_dict_is_the_run():
    whole, part = model(), model()
    optimizers = [torch.optim.AdamW(net.parameters(), lr=1e-2) for net in (whole, part)]
    steps(whole, optimizers[0], range(6))
    steps(part, optimizers[1], range(3))
    resumed = model(seed=9)
    optimizer = torch.optim.AdamW(resumed.parameters(), lr=1e-2)
    resumed.load_state_dict(part.state_dict())
    optimizer.load_state_dict(optimizers[1].state_dict())
    steps(resumed, optimizer, range(3, 6))
    biases = [name for name in whole.state_dict() if name.endswith("score_bias")]
    assert len(biases) == 2
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert all(whole.state_dict()[name].abs().max() > 1e-3 for name in biases)


def test_a_saved_model_has_it_with_a_new_head_too(tmp_path):
    net = model()
    steps(net, torch.optim.AdamW(net.parameters(), lr=1e-2), range(2))
    bias = net.model.encoder.layers[1].ffn.score_bias
    assert bias.abs().max() > 0
    net.save_pretrained(tmp_path / "whole")
    net.model.save_pretrained(tmp_path / "headless")
    loaded = [UltraForMaskedLM.from_pretrained(tmp_path / name).model for name in ("whole", "headless")]
    for other in (*loaded, UltraModel.from_pretrained(tmp_path / "whole")):
        assert torch.equal(other.encoder.layers[1].ffn.score_bias, bias)
