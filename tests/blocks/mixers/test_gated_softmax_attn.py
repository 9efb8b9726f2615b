from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ultra_blocks.layout import Layout
from ultra_blocks.linear import BitLinear
from ultra_blocks.mixers.gated_softmax_attn import GatedSoftmaxAttention
from ultra_blocks.mixers.standard_attn import StandardAttention

OPTIONS = st.fixed_dictionaries(
    {
        "causal": st.booleans(),
        "positions": st.sampled_from(["rope", "alibi", "hope"]),
        "qk_norm": st.booleans(),
        "window": st.sampled_from([None, 3]),
        "softcap": st.sampled_from([None, 1.5]),
    }
)


def pair(gate: str, **options: Any) -> tuple[GatedSoftmaxAttention, StandardAttention]:
    """A block, and plain attention with its weights, whose output projection does nothing."""
    torch.manual_seed(0)
    gated = GatedSoftmaxAttention(12, num_heads=2, gate=gate, **options).double().eval()
    with torch.no_grad():
        for p in gated.parameters():
            p.copy_(torch.randn_like(p) * 0.5)
    plain = StandardAttention(12, num_heads=2, **options).double().eval()
    plain.load_state_dict({n: p for n, p in gated.state_dict().items() if n != "gate_proj.weight"})
    with torch.no_grad():
        plain.out_proj.weight.copy_(torch.eye(12))
    return gated, plain


@pytest.mark.parametrize("gate", ["element", "head"])
@given(options=OPTIONS, length=st.integers(1, 8), seed=st.integers(0, 99))
def test_is_attention_times_the_gate_of_the_reader(
    gate: str, options: dict[str, Any], length: int, seed: int
) -> None:
    gated, plain = pair(gate, **options)
    g = torch.Generator().manual_seed(seed)
    layout = Layout.from_mask(torch.rand(2, length, generator=g) < 0.8)
    x = torch.randn(2, length, 12, generator=g, dtype=torch.float64).requires_grad_()
    gates = 1 / (1 + torch.exp(-x @ gated.gate_proj.weight.T))
    if gate == "head":
        gates = gates.repeat_interleave(6, -1)
    wanted = torch.where(layout.mask[..., None], plain(x, layout) * gates @ gated.out_proj.weight.T, 0.0)
    y = gated(x, layout)
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-12)
    leaves = [x, gated.gate_proj.weight, gated.out_proj.weight]
    pairs = zip(
        torch.autograd.grad(y.sum(), leaves),
        torch.autograd.grad(wanted.sum(), leaves, materialize_grads=True),
        strict=True,
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("gate", ["element", "head"])
def test_decoding_equals_the_forward_pass(gate: str) -> None:
    block, _ = pair(gate, causal=True, window=3)
    x = torch.randn(2, 6, 12, dtype=torch.float64)
    state, whole = block.init_state(2), block(x)
    for t in range(6):
        y, state = block.step(x[:, t], state)
        torch.testing.assert_close(y, whole[:, t], rtol=0, atol=1e-13)


def test_starts_half_open_and_the_gate_is_no_projection() -> None:
    torch.manual_seed(0)
    block = GatedSoftmaxAttention(64, num_heads=4, linear=BitLinear)
    x = torch.randn(1, 50, 64)
    gates = block.gate_proj(x).sigmoid()
    assert (gates - 0.5).abs().max() < 0.25
    assert type(block.gate_proj) is nn.Linear
    assert isinstance(block.out_proj, BitLinear)
    info = block.parameter_info()["gate_proj.weight"]
    assert (info.kind, info.decay, info.role) == ("gate", False, "attention")


def test_refuses_other_gates() -> None:
    with pytest.raises(ValueError, match="'element' or 'head'; given 'row'"):
        GatedSoftmaxAttention(12, num_heads=2, gate="row")  # type: ignore[arg-type]
