from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from support.references import by_the_reference
from support.tensors import randomise
from ultra_blocks.layout import Layout
from ultra_blocks.linear import BitLinear
from ultra_blocks.mixers.fox_attn import FoxAttention
from ultra_blocks.mixers.standard_attn import StandardAttention

OPTIONS = st.fixed_dictionaries(
    {
        "gates": st.sampled_from(["causal", "shared", "separate"]),
        "positions": st.sampled_from(["nope", "rope", "alibi"]),
        "qk_norm": st.booleans(),
        "window": st.sampled_from([None, 3]),
        "softcap": st.sampled_from([None, 1.5]),
    }
)


def arguments(gates: str, **options: Any) -> dict[str, Any]:
    return {"num_heads": 2, "causal": gates == "causal", "separate_gates": gates == "separate", **options}


def build(gates: str, dtype: torch.dtype = torch.float64, **options: Any) -> FoxAttention:
    """A block whose parameters all have values at which an error shows."""
    block = FoxAttention(12, **arguments(gates, **options))
    return randomise(block).to(dtype).eval()


@given(OPTIONS, st.integers(1, 8), st.sampled_from([0.6, 2.0]), st.booleans(), st.integers(0, 99))
def test_equals_the_paper_forward_and_backward(
    options: dict[str, Any], length: int, real: float, packed: bool, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    block = build(**options)
    mask = torch.rand(2, length, generator=g) < real
    documents = (torch.rand(2, length, generator=g) < 0.3).cumsum(1) if packed else None
    layout = Layout.from_mask(mask, documents)
    x = torch.randn(2, length, 12, generator=g, dtype=torch.float64).requires_grad_()
    leaves = [x, *block.parameters()]
    noise = torch.randn(2, length, 12, generator=g, dtype=torch.float64)
    y, wanted = block(x, layout), by_the_reference(block, x, layout, **arguments(**options))
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-11)
    theirs = torch.autograd.grad(wanted, leaves, noise, materialize_grads=True)
    for a, b in zip(torch.autograd.grad(y, leaves, noise), theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@given(OPTIONS, st.sampled_from(["nope", "rope", "hope"]), st.integers(1, 7))
def test_decoding_equals_the_forward_pass(options: dict[str, Any], positions: str, length: int) -> None:
    block = build(**options | {"gates": "causal", "positions": positions})
    x = torch.randn(2, length, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state, whole = block.init_state(2), block(x)
    for t in range(length):
        y, state = block.step(x[:, t], state)
        torch.testing.assert_close(y, whole[:, t], rtol=0, atol=1e-11)
    kept = length if block.window is None else min(length, block.window + 1)
    assert state.decay_sums.shape == (2, 2, kept)


@pytest.mark.parametrize("gates", ["causal", "shared", "separate"])
def test_no_key_is_boosted_on_either_side(gates: str) -> None:
    """The ancestor's encoder added F_i - F_j for keys ahead too, which grows without bound."""
    block = build(gates)
    x = torch.randn(1, 40, 12, dtype=torch.float64)
    f = block._score_terms(x, Layout.full(1, 40)).decay_sums
    assert f is not None
    assert (f.diff(dim=-1) < 0).all()
    with torch.no_grad():
        block.qkv_proj.weight[:24].zero_()  # scores are the fading alone
        block.forget_proj.weight.zero_()
        block.forget_proj.bias.fill_(-30.0)  # all is forgotten at once
    alone = (x @ block.qkv_proj.weight[24:].T) @ block.out_proj.weight.T
    torch.testing.assert_close(block(x), alone, rtol=0, atol=1e-10)


def test_open_gates_leave_standard_attention() -> None:
    block = build("shared", positions="rope")
    with torch.no_grad():
        block.forget_proj.bias.fill_(60.0)
    plain = StandardAttention(12, num_heads=2).double().eval()
    plain.load_state_dict({n: p for n, p in block.state_dict().items() if not n.startswith("forget")})
    x = torch.randn(2, 9, 12, dtype=torch.float64)
    layout = Layout.from_mask(torch.arange(9) < torch.tensor([[9], [4]]))
    torch.testing.assert_close(block(x, layout), plain(x, layout), rtol=0, atol=1e-12)


def test_separate_gates_act_ahead_alone() -> None:
    block = build("separate")
    x = torch.randn(1, 9, 12, dtype=torch.float64)
    first = block(x)
    with torch.no_grad():
        block.forget_proj.bias[2:] -= 3.0
    assert torch.equal(block(x)[:, -1], first[:, -1])  # the last token has nothing ahead
    assert (block(x)[:, :-1] != first[:, :-1]).any(-1).all()


def test_strong_forgetting_stays_exact_in_fp32() -> None:
    """Sums of log f reach -8000 here; what is near must not feel it."""
    rough, exact = (build("causal", dtype) for dtype in (torch.float32, torch.float64))
    for block in (rough, exact):
        with torch.no_grad():
            block.forget_proj.bias.fill_(-8.0)
    x = torch.randn(1, 1000, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rough(x).double(), exact(x.double()), rtol=0, atol=2e-5)


def test_starts_by_remembering() -> None:
    torch.manual_seed(0)
    for wanted in (0.99, 0.9):
        block = FoxAttention(64, num_heads=4, linear=BitLinear, initial_forget=wanted)
        forget = block._log_forget(torch.randn(1, 50, 64)).exp()
        assert abs(forget.mean() - wanted) < 0.01
        assert type(block.forget_proj) is nn.Linear
        info = block.parameter_info()
        for name in ("forget_proj.weight", "forget_proj.bias"):
            assert (info[name].kind, info[name].decay) == ("gate", False)


def test_gates_are_exact_under_autocast() -> None:
    block = build("shared", torch.float32)
    x = torch.randn(1, 6, 12)
    with torch.autocast("cpu", torch.bfloat16):
        gates = block._log_forget(x)
    assert torch.equal(gates, block._log_forget(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial_forget": 1.0}, "above 0 and below 1; given 1.0"),
        ({"causal": True, "separate_gates": True}, "a causal block never sees"),
    ],
)
def test_says_what_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FoxAttention(12, num_heads=2, **options)
