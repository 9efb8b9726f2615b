"""MuonClip: Muon's step, then exactly the clip of the paper, on ultra's attention blocks."""

import copy
from typing import Any

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, distributed, nn

from support.tensors import normal
from ultra_blocks.encoder import Encoder, UltraConfig
from ultra_blocks.encoder.post_step import after_step
from ultra_blocks.layout import Layout
from ultra_blocks.linear import BitLinear
from ultra_core import blocks
from ultra_core.contracts import RecordsLogits
from ultra_core.errors import UltraError
from ultra_optim import MuonClip, build, param_groups
from ultra_optim.reference.muonclip import gammas, qk_clip, qk_clip_mla
from ultra_optim.testing.subject import Bag, drive, gradients

STILL = {"lr": 0.0, "weight_decay": 0.0}
SOFTMAX = [
    ("standard_attn", {}),
    ("standard_attn", {"bias": True, "positions": "hope"}),
    ("gqa_attn", {"num_kv_heads": 2}),
    ("gated_softmax_attn", {}),
    ("fox_attn", {}),
    ("sigmoid_attn", {"positions": "alibi"}),
]


def awake(name: str, **options: Any) -> Any:
    """A block of four heads whose weights are drawn, the queries of the last two heads small."""
    torch.manual_seed(0)
    block = blocks.get(name)(16, num_heads=4, **options).double()
    with torch.no_grad():
        for p in block.parameters():
            p.copy_(torch.randn_like(p))
        projection = block.q_proj if name == "latent_attn" else block.qkv_proj
        half = block.num_heads // 2
        start, height = (0, block.head_dim)
        for p in projection.parameters():
            p[start + half * height : start + 2 * half * height].mul_(0.02)
            if name == "latent_attn":
                p[-half * block.rope_dim :].mul_(0.02)
    return block


def batch(seed: int = 1) -> tuple[Tensor, Layout]:
    x = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(seed)).double()
    return x, Layout.from_mask(torch.arange(9) < torch.tensor([[9], [5]]))


def forward(block: Any, seed: int = 1) -> list[float]:
    """Forward and backward; return the largest logits, which are left where they are."""
    block(*batch(seed)).square().sum().backward()
    return [] if block._maxima is None else block._maxima.tolist()


def rows(parameter: Tensor, heads: int, width: int, start: int = 0) -> list[Tensor]:
    return list(parameter.detach().clone()[start : start + heads * width].split(width))


def softmax_expected(block: Any, s_max: list[float], tau: float, alpha: float) -> dict[str, Tensor]:
    g, d = block.num_kv_heads, block.head_dim
    found = {}
    for name, p in block.qkv_proj.named_parameters():
        q, k = qk_clip(rows(p, 4, d), rows(p, g, d, 4 * d), s_max, tau, alpha)
        found[f"qkv_proj.{name}"] = torch.cat([*q, *k, p.detach()[(4 + g) * d :]])
    return found


@pytest.mark.parametrize("alpha", [0.5, 0.2, 1.0])
@pytest.mark.parametrize(("name", "options"), SOFTMAX)
def test_the_clip_is_the_formula(name, options, alpha) -> None:
    block = awake(name, **options)
    optimizer = build("muonclip", block, qk_clip_threshold=6.0, qk_clip_alpha=alpha, **STILL)
    before = {n: p.detach().clone() for n, p in block.named_parameters()}
    s_max = forward(block)
    assert min(s_max) < 6 < max(s_max), "heads above and below the bound are wanted"
    expected = before | softmax_expected(block, s_max, 6.0, alpha)
    optimizer.step()
    for key, p in block.named_parameters():
        torch.testing.assert_close(p.detach(), expected[key], rtol=1e-14, atol=0, msg=key)


@pytest.mark.parametrize("options", [{}, {"query_latent_dim": 6, "bias": True}, {"bias": True}])
def test_latent_attention_scales_what_heads_have_of_their_own(options) -> None:
    block = awake("latent_attn", **options)
    optimizer = build("muonclip", block, qk_clip_threshold=4.0, **STILL)
    before = {n: p.detach().clone() for n, p in block.named_parameters()}
    s_max = forward(block)
    assert min(s_max) < 4 < max(s_max)
    optimizer.step()
    n, r = block.head_dim, block.rope_dim
    up = before["kv_up_proj.weight"]
    expected = dict(before)
    for key in (k for k in before if k.startswith("q_proj.")):
        q = before[key]
        qc, kc, qr = qk_clip_mla(rows(q, 4, n), rows(up, 4, n), rows(q, 4, r, 4 * n), s_max, 4.0)
        expected[key] = torch.cat([*qc, *qr])
        expected["kv_up_proj.weight"] = torch.cat([*kc, up[4 * n :]])
    assert not torch.equal(expected["kv_up_proj.weight"], up)
    for key, p in block.named_parameters():
        torch.testing.assert_close(p.detach(), expected[key], rtol=1e-14, atol=0, msg=key)


@pytest.mark.parametrize(
    ("name", "options"), [*SOFTMAX, ("latent_attn", {}), ("latent_attn", {"bias": True})]
)
def test_the_same_input_then_stays_below_the_bound(name, options) -> None:
    block = awake(name, **options)
    optimizer = build("muonclip", block, qk_clip_threshold=5.0, **STILL)
    s_max = forward(block)
    optimizer.step()
    want = [s * gamma for s, gamma in zip(s_max, gammas(s_max, 5.0), strict=True)]
    torch.testing.assert_close(torch.tensor(forward(block)), torch.tensor(want))
    assert max(want) <= 5.0 + 1e-12


def test_the_step_is_muons_and_the_clip_comes_after() -> None:
    block = awake("gqa_attn", num_kv_heads=2)
    plain = copy.deepcopy(block)
    optimizer = build("muonclip", block, lr=0.01, qk_clip_threshold=6.0)
    muon = build("muon", plain, lr=0.01)
    for seed in (1, 2, 3):
        s_max = forward(block, seed)
        forward(plain, seed)
        optimizer.step()
        muon.step()
        expected = softmax_expected(plain, s_max, 6.0, 0.5)["qkv_proj.weight"]
        torch.testing.assert_close(block.qkv_proj.weight.detach(), expected, rtol=1e-13, atol=0)
        with torch.no_grad():
            for p, q in zip(plain.parameters(), block.parameters(), strict=True):
                p.copy_(q)
    for p, q in zip(plain.parameters(), block.parameters(), strict=True):
        assert torch.equal(muon.state[p]["momentum_buffer"], optimizer.state[q]["momentum_buffer"])


def test_below_the_bound_it_is_muon_to_the_bit() -> None:
    models = [awake("standard_attn") for _ in range(2)]
    for name, model in zip(("muonclip", "muon"), models, strict=True):
        optimizer = build(name, model, lr=0.01)
        for seed in range(3):
            forward(model, seed)
            optimizer.step()
    for p, q in zip(*(m.parameters() for m in models), strict=True):
        assert torch.equal(p, q)


def test_accumulated_batches_count_together() -> None:
    block = awake("standard_attn")
    optimizer = build("muonclip", block, qk_clip_threshold=6.0, **STILL)
    alone = []
    for seed in (1, 2):
        alone.append(forward(block, seed))
        block.take_max_logits()
    both = [max(column) for column in zip(*alone, strict=True)]
    assert both not in alone
    forward(block, 1)
    assert forward(block, 2) == both
    expected = softmax_expected(block, both, 6.0, 0.5)["qkv_proj.weight"]
    optimizer.step()
    torch.testing.assert_close(block.qkv_proj.weight.detach(), expected, rtol=1e-14, atol=0)


def test_evaluation_between_steps_does_not_count() -> None:
    block = awake("standard_attn")
    optimizer = build("muonclip", block, qk_clip_threshold=6.0, **STILL)
    s_max = forward(block)
    expected = softmax_expected(block, s_max, 6.0, 0.5)["qkv_proj.weight"]
    with torch.no_grad():
        block.eval()(100 * batch()[0], batch()[1])
        block.train()(100 * batch()[0], batch()[1])
    optimizer.step()
    torch.testing.assert_close(block.qkv_proj.weight.detach(), expected, rtol=1e-14, atol=0)


def test_a_closure_is_a_forward_pass_too() -> None:
    block = awake("standard_attn")
    optimizer = build("muonclip", block, qk_clip_threshold=6.0, **STILL)
    assert optimizer.step(lambda: forward(block))[0] > 6
    assert max(forward(block)) <= 6 + 1e-12


def test_the_bound_of_a_role() -> None:
    block = awake("standard_attn")
    roles = {"attention": {"qk_clip_threshold": 7.0, "lr": 0.0, "weight_decay": 0.0}}
    optimizer = build("muonclip", block, roles=roles)
    forward(block)
    optimizer.step()
    assert max(forward(block)) == pytest.approx(7.0)


def test_all_attention_of_an_encoder_is_found_and_trains_in_a_plain_loop() -> None:
    config = UltraConfig(
        vocab_size=20, hidden_size=16, num_layers=4, num_heads=2, ffn_hidden_size=16, dropout=0.0,
        layer_pattern=("standard_attn", "retnet", "ode", "latent_attn"), retention_heads=2, num_loops=2,
        use_moe=False,
    )  # fmt: skip
    logits = {}
    for name, options in (("muon", {}), ("muonclip", {"qk_clip_threshold": 0.005})):
        torch.manual_seed(0)
        encoder = Encoder(config)
        optimizer = build(name, encoder, lr=1e-3, **options)
        attention = [m for m in encoder.modules() if isinstance(m, RecordsLogits)]
        if name == "muonclip":
            assert [t.block for t in optimizer.targets] == attention
        for _ in range(6):
            optimizer.zero_grad()
            for block in attention:
                block.record_logits(True)
            encoder(torch.arange(16).view(2, 8)).hidden[..., 0].sum().backward()
            logits[name] = torch.cat([block._maxima for block in attention])
            optimizer.step()
            after_step(encoder)
    assert [type(block).__name__ for block in attention] == [
        "StandardAttention",
        "_Derivative",
        "LatentAttention",
    ]
    assert bool((logits["muonclip"] < logits["muon"] / 2).all())


def test_without_a_forward_pass_nothing_moves() -> None:
    block = awake("standard_attn")
    optimizer = build("muonclip", block, lr=0.01)
    forward(block)
    optimizer.step()
    before = copy.deepcopy(block.state_dict())
    with pytest.raises(RuntimeError, match=r"no attention logits were recorded.*model.train\(\)"):
        optimizer.step()
    forward(block.eval())
    with pytest.raises(RuntimeError, match="no attention logits"):
        optimizer.step()
    assert all(torch.equal(v, before[k]) for k, v in block.state_dict().items())


def test_a_model_that_trains_something_else_this_time() -> None:
    model = nn.ModuleList([awake("standard_attn"), nn.Linear(16, 16).double()])
    optimizer = build("muonclip", model, lr=0.01)
    before = model[0].qkv_proj.weight.detach().clone()
    model[1](batch()[0]).sum().backward()
    optimizer.step()
    assert torch.equal(model[0].qkv_proj.weight, before)


@pytest.mark.parametrize(
    "options",
    [{"qk_norm": True}, {"linear": BitLinear}, {"frozen": True}],
    ids=["QK-norm", "BitNet", "frozen"],
)
def test_a_model_without_logits_to_bound_is_refused(options) -> None:
    frozen = options.pop("frozen", False)
    block = blocks.get("standard_attn")(16, num_heads=4, **options)
    block.qkv_proj.requires_grad_(not frozen)
    with pytest.raises(UltraError, match=r"no attention block whose logits .*standard_attn.* Use muon"):
        build("muonclip", block)
    assert not block.recording
    model = nn.ModuleList([block, awake("standard_attn").float()])
    assert [t.block for t in build("muonclip", model).targets] == [model[1]]


def test_the_model_is_asked_for() -> None:
    block = awake("standard_attn")
    with pytest.raises(ValueError, match=r"create\('muonclip', model\), or pass model=model"):
        MuonClip(param_groups(block))
    assert len(MuonClip(param_groups(block), model=block).targets) == 1
    assert len(MuonClip(param_groups([block, nn.Linear(3, 4)]), model=[block, block]).targets) == 1


def test_processes_clip_by_the_largest_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    block = awake("standard_attn")
    optimizer = build("muonclip", block, qk_clip_threshold=6.0, **STILL)
    elsewhere = torch.tensor([1.0, 2.0, 3.0, 60.0]).double()

    def all_reduce(tensor: Tensor, op: Any) -> None:
        assert op == distributed.ReduceOp.MAX
        if tensor.dtype == torch.float64:
            torch.maximum(tensor, elsewhere, out=tensor)

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    s_max = [max(pair) for pair in zip(forward(block), elsewhere.tolist(), strict=True)]
    expected = softmax_expected(block, s_max, 6.0, 0.5)["qkv_proj.weight"]
    optimizer.step()
    torch.testing.assert_close(block.qkv_proj.weight.detach(), expected, rtol=1e-14, atol=0)


def test_a_process_without_maxima_clips_as_the_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """All take part in the same reductions; first in one that says where anything was recorded."""
    recording, silent = awake("standard_attn"), awake("standard_attn")
    weights = silent.qkv_proj.weight.detach().clone()
    optimizers = [build("muonclip", b, qk_clip_threshold=6.0, **STILL) for b in (recording, silent)]
    forward(recording)
    forward(silent.eval())
    reduced: list[list[Tensor]] = [[], []]
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)

    def first(tensor: Tensor, op: Any) -> None:
        reduced[0].append(tensor.clone())

    def second(tensor: Tensor, op: Any) -> None:
        mine = reduced[0][len(reduced[1])]
        assert (mine.shape, mine.dtype) == (tensor.shape, tensor.dtype)
        torch.maximum(tensor, mine, out=tensor)
        reduced[1].append(tensor)

    for optimizer, all_reduce in zip(optimizers, (first, second), strict=True):
        monkeypatch.setattr(distributed, "all_reduce", all_reduce)
        optimizer.step()
    assert len(reduced[0]) == len(reduced[1]) == 2
    assert not torch.equal(silent.qkv_proj.weight, weights)
    assert torch.equal(silent.qkv_proj.weight, recording.qkv_proj.weight)
    monkeypatch.setattr(distributed, "all_reduce", lambda tensor, op: None)
    with pytest.raises(RuntimeError, match="no attention logits"):
        optimizers[1].step()


def theirs(q: Tensor, k: Tensor, maxima: Tensor) -> tuple[Tensor, Tensor]:
    """q and k after the clip of pytorch_optimizer, without a step."""
    parameters = [nn.Parameter(t.clone()) for t in (q, k)]
    groups = [
        {"params": [p], "use_muon": True, "attention_name": "a", "qk_clip": part}
        for p, part in zip(parameters, ("query", "key"), strict=True)
    ]
    optimizer = pytorch_optimizer.MuonClip(groups, lr=0.0, qk_clip_threshold=6.0)
    for p in parameters:
        p.grad = torch.ones_like(p)
    optimizer.step(attention_max_logits={"a": maxima})
    return parameters[0].detach(), parameters[1].detach()


@pytest.mark.parametrize("key_heads", [4, 2])
def test_pytorch_optimizer_clips_alike_unless_keys_are_shared(key_heads: int) -> None:
    block = awake("gqa_attn", num_kv_heads=key_heads).float()
    optimizer = build("muonclip", block, qk_clip_threshold=6.0, **STILL)
    block(batch()[0].float(), batch()[1]).square().sum().backward()
    maxima = block._maxima.clone()
    q, k, _ = block.qkv_proj.weight.detach().clone().split(block.heights)
    optimizer.step()
    mine = block.qkv_proj.weight.detach().split(block.heights)[:2]
    alike = [torch.allclose(a, b, rtol=1e-5) for a, b in zip(mine, theirs(q, k, maxima), strict=True)]
    assert alike == ([True, True] if key_heads == 4 else [False, False])
    if key_heads == 2:  # half of a key head goes by one query, half by the other
        ratios = theirs(q, k, maxima)[1] / k
        torch.testing.assert_close(ratios[::2, 0], (6 / maxima.clamp(min=6)).sqrt())


def test_a_deep_copy_clips_the_blocks_of_the_copied_model() -> None:
    bag = Bag([normal((6, 5), 0)], logit=125.0)
    optimizer = build("muonclip", bag, lr=0.01)
    copied_bag, copied = copy.deepcopy((bag, optimizer))
    for each, its in ((bag, optimizer), (copied_bag, copied)):
        drive(its, each.tensors(), gradients(each.tensors(), 3))
    assert torch.equal(bag.p0, copied_bag.p0)
    assert copied.targets[0].block is copied_bag
