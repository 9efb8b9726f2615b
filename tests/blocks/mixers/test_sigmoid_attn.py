from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from support.references import by_the_reference
from support.tensors import randomise
from ultra_blocks.layout import Layout
from ultra_blocks.mixers.sigmoid_attn import SigmoidAttention
from ultra_blocks.positions import PositionCode

OPTIONS = st.fixed_dictionaries(
    {
        "causal": st.booleans(),
        "positions": st.sampled_from(["rope", "alibi", "nope"]),
        "qk_norm": st.booleans(),
        "output_norm": st.booleans(),
        "window": st.sampled_from([None, 1, 3]),
        "softcap": st.sampled_from([None, 1.5]),
        "bias": st.booleans(),
    }
)


@given(OPTIONS, st.integers(1, 8), st.sampled_from([0.6, 2.0]), st.booleans(), st.integers(0, 99))
def test_equals_the_paper_forward_and_backward(
    options: dict[str, Any], length: int, real: float, packed: bool, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    block = randomise(SigmoidAttention(12, num_heads=2, **options).double())
    mask = torch.rand(2, length, generator=g) < real
    documents = (torch.rand(2, length, generator=g) < 0.3).cumsum(1) if packed else None
    layout = Layout.from_mask(mask, documents)
    x = torch.randn(2, length, 12, generator=g, dtype=torch.float64).requires_grad_()
    leaves = [x, *block.parameters()]
    noise = torch.randn(2, length, 12, generator=g, dtype=torch.float64)
    y, wanted = block(x, layout), by_the_reference(block, x, layout, num_heads=2, **options)
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-11)
    theirs = torch.autograd.grad(wanted, leaves, noise, materialize_grads=True)
    for a, b in zip(torch.autograd.grad(y, leaves, noise), theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@given(OPTIONS, st.sampled_from(["rope", "alibi", "hope"]), st.integers(1, 7))
def test_decoding_equals_the_forward_pass(options: dict[str, Any], positions: str, length: int) -> None:
    options |= {"causal": True, "positions": positions}
    block = randomise(SigmoidAttention(12, num_heads=2, **options).double()).eval()
    x = torch.randn(2, length, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state, whole = block.init_state(2), block(x)
    for t in range(length):
        y, state = block.step(x[:, t], state)
        torch.testing.assert_close(y, whole[:, t], rtol=0, atol=1e-11)


@pytest.mark.parametrize("causal", [False, True])
def test_the_shift_counts_visible_real_keys_whatever_the_padding(causal: bool) -> None:
    """With scores of 0 a query reads the sum of the values it sees, times 1 / (1 + n)."""
    block = SigmoidAttention(4, num_heads=1, causal=causal).double()
    with torch.no_grad():
        block.qkv_proj.weight.copy_(torch.cat([torch.zeros(8, 4), torch.eye(4)]))
        block.out_proj.weight.copy_(torch.eye(4))
    tokens = torch.randn(3, 4, dtype=torch.float64)
    wanted = tokens.cumsum(0) / torch.tensor([[2.0], [3], [4]]) if causal else tokens.sum(0).expand(3, 4) / 4
    for columns in ([0, 1, 2], [4, 5, 6], [1, 3, 6]):
        for width in (7, 40):
            x = torch.full((1, width, 4), float("nan"), dtype=torch.float64)
            x[0, columns] = tokens
            layout = Layout.from_mask(x[..., 0].isfinite())
            torch.testing.assert_close(block(x, layout)[0, columns], wanted, rtol=0, atol=1e-14)


def test_rows_are_not_normalised_and_start_near_a_mean() -> None:
    torch.manual_seed(0)
    block = SigmoidAttention(32, num_heads=2).eval()
    block.reset_parameters()
    with torch.no_grad():
        block.qkv_proj.weight[64:].copy_(torch.eye(32))
        block.out_proj.weight.copy_(torch.eye(32))
    x = torch.cat([torch.ones(1, 200, 1), 0.1 * torch.randn(1, 200, 31)], -1)
    sums = block(x)[..., 0]
    assert (sums - 1).abs().max() < 0.02
    with torch.no_grad():
        block.qkv_proj.weight[:64].mul_(40)
    assert (block(x)[..., 0] - 1).abs().max() > 0.1


class Learnt(PositionCode):
    """A bias that is learnt: tiles hand no gradient to it, so that the scores are kept in memory."""

    kind = "bias"

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.3))

    def bias(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        distance = (layout.positions[:, None, :, None] - layout.positions[:, None, None, :]).abs()
        return -self.slope.to(dtype) * distance


def test_a_learnt_bias_gets_its_gradient() -> None:
    block = randomise(SigmoidAttention(8, num_heads=2, positions=Learnt).double())
    layout = Layout.from_mask(torch.tensor([[True, True, False, True, True]]))
    x = torch.randn(1, 5, 8, dtype=torch.float64).requires_grad_()
    torch.autograd.gradcheck(lambda x, _: block(x, layout), (x, block.positions.slope))


def test_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    block = SigmoidAttention(8, num_heads=2, dropout=0.5)
    x = torch.randn(1, 6, 8)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


def test_compiled_it_stays_one_graph_and_equal() -> None:
    block = randomise(SigmoidAttention(8, num_heads=2, softcap=3.0).double())
    layout = Layout.from_mask(torch.arange(9) < torch.tensor([[9], [5]]))
    results = []
    for function in (block, torch.compile(block, backend="aot_eager", fullgraph=True)):
        x = torch.ones(2, 9, 8, dtype=torch.float64).cumsum(1).mul(0.1).requires_grad_()
        y = function(x, layout)
        results.append([y, *torch.autograd.grad(y.sum(), [x, *block.parameters()])])
    for ours, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, ours, rtol=1e-12, atol=1e-12)
