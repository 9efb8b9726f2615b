import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ultra_blocks.config import UltraConfig
from ultra_blocks.layout import Layout
from ultra_blocks.mixers.standard_attn import StandardAttention
from ultra_blocks.positions import build
from ultra_blocks.positions.hope import HoPE
from ultra_blocks.reference import hope as reference
from ultra_blocks.testing import PositionCase, pytest_params
from ultra_core.plugins.signatures import check_options

CASES = [
    PositionCase(name="hope", cls=HoPE),
    PositionCase(name="hope-global", cls=HoPE, options={"damping_form": "global"}),
]


@pytest.mark.parametrize(("case", "rule"), pytest_params(CASES))
def test_conformance(case, rule) -> None:
    rule(case)


def drawn(g: torch.Generator, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype).requires_grad_()


def inside(layout: Layout) -> Tensor:
    """Pairs of real tokens of one document ``(B, 1, T, T)``."""
    same = layout.documents[:, :, None] == layout.documents[:, None]
    return (same & layout.mask[:, None])[:, None]


def by_the_paper(q: Tensor, k: Tensor, layout: Layout, **options) -> Tensor:
    rows = [reference.scores(a, b, p, **options) for a, b, p in zip(q, k, layout.positions, strict=True)]
    return torch.stack(rows)


def directly(code: HoPE, q: Tensor, k: Tensor, positions: Tensor) -> Tensor:
    """Every pair with its own exponential, ``(B, H, T, T)``: what the reference does, for longer rows."""
    half = code.head_dim // 2
    q, k = (torch.cat((x[..., :half] + x[..., half:], x[..., :half] - x[..., half:]), -1) for x in (q, k))
    distance = (positions[:, :, None] - positions[:, None]).abs().to(q.dtype)[:, None, ..., None]
    fade = torch.exp(-distance * torch.tensor(code.rates, dtype=q.dtype))
    return torch.einsum("bhid,bhjd,bhijd->bhij", q, k, fade.expand(-1, q.shape[1], -1, -1, -1)) / 2


@given(
    st.integers(1, 11),
    st.sampled_from([2, 6, 8]),
    st.sampled_from(["pair", "global"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
def test_equals_the_boosts_of_the_paper_forward_and_backward(
    length: int, d: int, form: str, packed: bool, causal: bool, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    q, k = drawn(g, 2, 2, length, d), drawn(g, 2, 2, length, d)
    mask = torch.rand(2, length, generator=g) < 0.7
    documents = (torch.rand(2, length, generator=g) < 0.3).cumsum(1) if packed else None
    layout = Layout.from_mask(mask, documents)
    options = {"base": 50.0, "damping": 0.03, "margin": 0.2}
    pairs = inside(layout)
    if causal:
        pairs = pairs & torch.ones(length, length, dtype=torch.bool).tril()
    got = HoPE(d, damping_form=form, causal=causal, **options).scores(q, k, layout)
    wanted = by_the_paper(q, k, layout, form=form, **options)
    assert got.isfinite().all()
    got, wanted = (torch.where(pairs, x, 0.0) for x in (got, wanted))
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    noise = torch.randn(got.shape, generator=g, dtype=torch.float64)
    ours = torch.autograd.grad(got, (q, k), noise)
    theirs = torch.autograd.grad(wanted, (q, k), noise)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@given(st.integers(1, 40), st.booleans(), st.integers(0, 99))
def test_takes_positions_in_any_order_and_with_gaps(length: int, causal: bool, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    q, k = drawn(g, 2, 2, length, 4), drawn(g, 2, 2, length, 4)
    positions = torch.randint(0, 300, (2, length), generator=g)
    layout = Layout.from_mask(torch.rand(2, length, generator=g) < 0.8, positions=positions)
    code = HoPE(4, causal=causal)
    pairs = inside(layout)
    if causal:
        pairs = pairs & torch.ones(length, length, dtype=torch.bool).tril()
    got, wanted = code.scores(q, k, layout), directly(code, q, k, layout.positions)
    torch.testing.assert_close(torch.where(pairs, got, 0), torch.where(pairs, wanted, 0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", [5, 64, 65, 257])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
def test_long_rows_lose_no_digits(length: int, dtype: torch.dtype, limit: float) -> None:
    g = torch.Generator().manual_seed(0)
    q, k = drawn(g, 1, 1, length, 8), drawn(g, 1, 1, length, 8)
    code, layout = HoPE(8), Layout.full(1, length)
    wanted = directly(code, q, k, layout.positions)
    got = code.scores(q.to(dtype), k.to(dtype), layout)
    assert (got - wanted).abs().max() < limit * wanted.abs().max()


@pytest.mark.parametrize("options", [{"damping": 50.0}, {"damping": 0.0, "margin": 0.0}, {"margin": 1e3}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_rates_over_long_rows_stay_finite(options: dict[str, float], dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    q, k = drawn(g, 1, 1, 1500, 4, dtype=dtype), drawn(g, 1, 1, 1500, 4, dtype=dtype)
    scores = HoPE(4, **options).scores(q, k, Layout.full(1, 1500))
    assert scores.dtype is dtype
    assert scores.isfinite().all()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(scores.sum(), (q, k)))


@given(st.integers(2, 30), st.integers(0, 99))
def test_queries_and_keys_swap(length: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    q, k = drawn(g, 1, 2, length, 6), drawn(g, 1, 2, length, 6)
    code, layout = HoPE(6), Layout.full(1, length)
    torch.testing.assert_close(code.scores(q, k, layout), code.scores(k, q, layout).mT, rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", ["pair", "global"])
def test_coefficients_are_at_most_one_and_fall_with_distance(form: str) -> None:
    code, layout = HoPE(16, damping_form=form), Layout.full(1, 70)
    assert all(rate > 0 for rate in code.rates)
    for channel in range(8):
        u = torch.zeros(1, 1, 70, 16, dtype=torch.float64)
        u[..., [channel, channel + 8]] = 0.5**0.5
        row = code.scores(u, u, layout)[0, 0, 0]
        assert row[0] == pytest.approx(1.0)
        assert (row <= 1 + 1e-15).all()
        assert (row.diff() <= 0).all()


def test_the_default_keeps_channels_that_the_global_form_loses() -> None:
    far = [sum(rate * 100 < 1.2 for rate in HoPE(64, damping_form=form).rates) for form in ("pair", "global")]
    assert far[0] > 20
    assert far[1] == 0


def test_causal_blocks_of_keys_that_come_later_are_zero() -> None:
    x = torch.randn(1, 1, 32, 4)
    both, past = (HoPE(4, causal=causal).scores(x, x, Layout.full(1, 32)) for causal in (False, True))
    assert torch.equal(past.tril(), both.tril())
    assert not past[..., :16, 16:].any()


def test_tables_are_made_once_a_forward() -> None:
    layout, x = Layout.from_mask(torch.tensor([[False, True, True]])), torch.randn(1, 1, 3, 4)
    HoPE(4).scores(x, x, layout)
    made = dict(layout.memo)
    HoPE(4).scores(x, x, layout)
    assert layout.memo.keys() == made.keys()
    HoPE(4, damping=0.2).scores(x, x, layout)
    assert len(layout.memo) == len(made) + 1


@pytest.mark.parametrize("rows", ["full", "left", "mirrored"])
def test_compiled_it_is_the_same(rows: str) -> None:
    g = torch.Generator().manual_seed(0)
    q, k = drawn(g, 1, 2, 9, 4), drawn(g, 1, 2, 9, 4)
    mask = torch.arange(9)[None] >= (3 if rows == "left" else 0)
    positions = torch.arange(9).flip(0)[None] if rows == "mirrored" else None

    def layout() -> Layout:
        return Layout.from_mask(mask, positions=positions)

    code, pairs = HoPE(4), inside(layout())
    torch._dynamo.reset()
    compiled = torch.compile(code.scores, backend="aot_eager", fullgraph=True)
    got, wanted = compiled(q, k, layout()), code.scores(q, k, layout())
    torch.testing.assert_close(torch.where(pairs, got, 0), torch.where(pairs, wanted, 0), rtol=0, atol=1e-13)


def test_attention_with_it_decodes_token_by_token() -> None:
    torch.manual_seed(0)
    block = StandardAttention(8, num_heads=2, positions=HoPE, causal=True).double()
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    state, steps = block.init_state(2), []
    for t in range(7):
        y, state = block.step(x[:, t], state)
        steps.append(y)
    torch.testing.assert_close(torch.stack(steps, 1), block(x), rtol=0, atol=1e-13)


def test_takes_base_and_damping_from_the_model() -> None:
    fields = {"hope_base": 7.0, "hope_damping": 0.5}
    code = build(HoPE, head_dim=4, num_heads=1, hidden_size=4, model=fields)
    assert (code.base, code.damping) == (7.0, 0.5)
    assert "base=7, damping=0.5" in repr(code)
    config = UltraConfig()
    default = HoPE(4)
    assert (config.hope_base, config.hope_damping) == (default.base, default.damping)


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="even width"):
        HoPE(7)
    with pytest.raises(ValueError, match="base must be above 1"):
        HoPE(8, base=1.0)
    with pytest.raises(ValueError, match="grow with distance"):
        HoPE(8, damping=-0.1)
    assert set(check_options("hope", HoPE, {"damping": -1.0, "damping_form": "both", "margin": 0.2})) == {
        "damping",
        "damping_form",
    }
