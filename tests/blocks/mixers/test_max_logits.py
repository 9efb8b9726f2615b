"""What attention blocks record of their logits, against a loop over real pairs."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ultra_blocks.encoder.post_step import after_step
from ultra_blocks.layout import Layout
from ultra_blocks.linear import BitLinear
from ultra_blocks.reference.attention import max_logits
from ultra_blocks.reference.hope import scores as hope
from ultra_blocks.reference.positions import rotated
from ultra_core import blocks
from ultra_core.contracts import RecordsLogits

SOFTMAX = [
    ("standard_attn", {}),
    ("standard_attn", {"positions": "hope"}),
    ("standard_attn", {"positions": "nope", "bias": True, "softcap": 5.0, "window": 3}),
    ("gqa_attn", {"num_kv_heads": 2, "positions": "alibi"}),
    ("gated_softmax_attn", {}),
    ("sigmoid_attn", {}),
    ("titan_attn", {"memory": False}),
    ("fox_attn", {}),
]
LATENT = [{}, {"query_latent_dim": 6, "bias": True}, {"positions": "nope", "window": 3}]
MASK = torch.tensor([[0, 0, 1, 1, 1, 0, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1], [0] * 8]).bool()
DOCUMENTS = torch.tensor([[0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1, 1, 2], [0] * 8])


def layout() -> Layout:
    return Layout.from_mask(MASK, DOCUMENTS)


def awake(name: str, causal: bool = False, **options: Any) -> Any:
    torch.manual_seed(0)
    block = blocks.get(name)(16, num_heads=4, causal=causal, **options).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return block


def tokens(fill: float = float("nan"), seed: int = 1) -> Tensor:
    x = torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(seed)).double()
    return torch.where(MASK[..., None], x, fill)


def heads(projected: Tensor, count: int) -> Tensor:
    return projected.unflatten(-1, (count, -1)).transpose(1, 2)


def rotated_rows(x: Tensor, positions: Tensor) -> Tensor:
    return torch.stack([rotated(row, p.tolist()) for row, p in zip(x, positions, strict=True)])


def softmax_logits(block: Any, x: Tensor) -> Tensor:
    """The logits before what is added, from the weights, position codes as the papers write them."""
    x, positions = torch.where(MASK[..., None], x, 0), layout().positions
    q, k, _ = block.qkv_proj(x).split(block.heights, -1)
    q, k = heads(q, 4), heads(k, block.num_kv_heads).repeat_interleave(4 // block.num_kv_heads, 1)
    code = type(block.positions).__name__
    if code == "HoPE":
        return torch.stack([hope(*row) for row in zip(q, k, positions, strict=True)]) / 2
    if code == "RoPE":
        q, k = rotated_rows(q, positions), rotated_rows(k, positions)
    return q @ k.mT / 2


def latent_logits(block: Any, x: Tensor) -> Tensor:
    """(q_N k_N + q_R k_R) / sqrt(d_n + d_r), from the weights."""
    x, positions = torch.where(MASK[..., None], x, 0), layout().positions
    source = x if block.q_down_proj is None else block.q_norm(block.q_down_proj(x))
    own, turned = block.q_proj(source).split(block.query_heights, -1)
    latents, shared = block.kv_down_proj(x).split(block.down_heights, -1)
    k_own = heads(block.kv_up_proj(block.kv_norm(latents)).split(block.up_heights, -1)[0], 4)
    q_r, k_r = heads(turned, 4), shared[:, None]
    if block.positions.kind == "rotate":
        q_r, k_r = rotated_rows(q_r, positions), rotated_rows(k_r, positions)
    return (heads(own, 4) @ k_own.mT + q_r @ k_r.mT) / (block.head_dim + block.rope_dim) ** 0.5


def looped(block: Any, logits: Tensor) -> Tensor:
    here = layout()
    return max_logits(
        logits.detach(),
        documents=here.documents,
        positions=here.positions,
        causal=block.causal,
        window=block.window,
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("name", "options"), SOFTMAX)
def test_softmax_against_a_loop(name, options, causal) -> None:
    block = awake(name, causal, **options)
    block.record_logits(True)
    block(tokens(), layout())
    torch.testing.assert_close(block.take_max_logits(), looped(block, softmax_logits(block, tokens())))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("options", LATENT)
def test_latent_against_a_loop(options, causal) -> None:
    block = awake("latent_attn", causal, **options)
    block.record_logits(True)
    block(tokens(), layout())
    torch.testing.assert_close(block.take_max_logits(), looped(block, latent_logits(block, tokens())))


def test_maxima_add_up_until_they_are_taken() -> None:
    block = awake("standard_attn")
    block.record_logits(True)
    seen = []
    for seed in (1, 2, 3):
        block(tokens(seed=seed), layout())
        seen.append(looped(block, softmax_logits(block, tokens(seed=seed))))
    assert len({int(column.argmax()) for column in torch.stack(seen).T}) > 1, "one batch has all the maxima"
    torch.testing.assert_close(block.take_max_logits(), torch.stack(seen).amax(0))
    assert block.take_max_logits() is None


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputed_activations_record_once_more_the_same(reentrant: bool) -> None:
    block, x = awake("standard_attn"), tokens(0.0).requires_grad_()
    block.record_logits(True)
    checkpoint(block, x, layout(), use_reentrant=reentrant).sum().backward()
    torch.testing.assert_close(block.take_max_logits(), looped(block, softmax_logits(block, tokens())))


def test_only_training_is_recorded() -> None:
    block = awake("latent_attn")
    block(tokens(), layout())
    assert block.take_max_logits() is None, "recorded before it was told to"
    block.record_logits(True)
    block.eval()(tokens(), layout())
    with torch.no_grad():
        block.train()(tokens(), layout())
    assert block.take_max_logits() is None
    block(tokens(), layout())
    block.record_logits(False)
    block(tokens(), layout())
    assert block.take_max_logits() is None


def test_a_dropped_step_is_forgotten() -> None:
    block = awake("standard_attn")
    block.record_logits(True)
    block(tokens(), layout())
    after_step(block, taken=False)
    assert block.take_max_logits() is None


def test_it_is_no_part_of_the_state() -> None:
    block = awake("standard_attn")
    names = list(block.state_dict())
    block.record_logits(True)
    block(tokens(), layout())
    assert list(block.state_dict()) == names


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("standard_attn", {"qk_norm": True}),
        ("gqa_attn", {"linear": BitLinear}),
        ("latent_attn", {"linear": BitLinear}),
        ("latent_attn", {"qk_norm": True}),
        ("titan_attn", {}),
        ("titan_attn", {"memory": False, "persistent_tokens": 1}),
        ("titan_attn", {"memory": False, "qk_norm": True}),
    ],
)
def test_what_is_not_linear_has_no_rows(name, options) -> None:
    block = awake(name, **options)
    assert isinstance(block, RecordsLogits)
    assert block.logit_rows() == ()


def test_shifts_are_rows_too() -> None:
    rows = awake("gqa_attn", num_kv_heads=2, bias=True).logit_rows()
    found = [(r.parameter, r.part, r.heads, r.width, r.start, r.stop) for r in rows]
    assert found == [
        ("qkv_proj.weight", "query", 4, 4, 0, 16),
        ("qkv_proj.bias", "query", 4, 4, 0, 16),
        ("qkv_proj.weight", "key", 2, 4, 16, 24),
        ("qkv_proj.bias", "key", 2, 4, 16, 24),
    ]


class Recomputed(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        return checkpoint(self.block, x, layout, use_reentrant=False)


@pytest.mark.parametrize("recomputed", [False, True])
def test_a_compiled_block_records(recomputed: bool) -> None:
    """In one graph, unless activations are recomputed: those graphs may not write into modules."""
    torch._dynamo.reset()
    block = awake("standard_attn")
    block.record_logits(True)
    form = Recomputed(block) if recomputed else block
    compiled = torch.compile(form, backend="aot_eager", fullgraph=not recomputed)
    for seed in (1, 2):
        compiled(tokens(0.0, seed), layout()).sum().backward()
        block.zero_grad()
    want = [looped(block, softmax_logits(block, tokens(seed=seed))) for seed in (1, 2)]
    torch.testing.assert_close(block.take_max_logits(), torch.maximum(*want))
