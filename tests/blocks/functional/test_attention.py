from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from ultra_blocks.functional import attention
from ultra_blocks.layout import Layout
from ultra_blocks.reference.attention import attention as reference


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    length = draw(st.integers(1, 9))
    seed = draw(st.integers(0, 99))
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(2, length, generator=g) < draw(st.sampled_from([0.5, 0.9, 2.0]))
    documents = (torch.rand(2, length, generator=g) < 0.3).cumsum(1) if draw(st.booleans()) else None
    return Layout.from_mask(mask, documents)


def inputs(layout: Layout, groups: int) -> list[Tensor]:
    g = torch.Generator().manual_seed(1)
    rows, length = layout.mask.shape
    shapes = [(rows, heads, length, 6) for heads in (4, groups, groups)]
    return [torch.randn(s, generator=g, dtype=torch.float64).requires_grad_() for s in shapes]


def same_with_gradients(got: Tensor, wanted: Tensor, layout: Layout, leaves: list[Tensor]) -> None:
    real = layout.mask[:, None, :, None]
    got, wanted = torch.where(real, got, 0.0), torch.where(real, wanted, 0.0)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    if not layout.mask.any():
        return
    noise = torch.randn(got.shape, dtype=got.dtype, generator=torch.Generator().manual_seed(2))
    pairs = zip(
        torch.autograd.grad(got, leaves, noise), torch.autograd.grad(wanted, leaves, noise), strict=True
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@given(layouts(), st.sampled_from([1, 2, 4]), st.booleans(), st.sampled_from([None, 1, 2, 5]), st.booleans())
def test_kernel_attention_equals_the_loop(
    layout: Layout, groups: int, causal: bool, window: int | None, biased: bool
) -> None:
    q, k, v = inputs(layout, groups)
    length = layout.mask.shape[1]
    bias = torch.randn(2, 4, length, length, dtype=torch.float64) if biased else None
    got = attention.kernel_attention(q, k, v, layout, causal=causal, window=window, bias=bias)
    wanted = reference(
        q,
        k,
        v,
        documents=layout.documents,
        positions=layout.positions,
        causal=causal,
        window=window,
        bias=bias,
    )
    same_with_gradients(got, wanted, layout, [q, k, v])


@given(layouts(), st.sampled_from([1, 4]), st.booleans(), st.sampled_from([None, 2.0]))
def test_explicit_attention_equals_the_loop(
    layout: Layout, groups: int, causal: bool, softcap: float | None
) -> None:
    q, k, v = inputs(layout, groups)
    bias = torch.randn(2, 4, 1, layout.mask.shape[1], dtype=torch.float64)
    got = attention.explicit_attention(
        q @ attention.repeat_heads(k, 4).mT * 6**-0.5,
        v,
        mask=layout.attention_mask(causal),
        bias=bias,
        softcap=softcap,
    )
    wanted = reference(
        q,
        k,
        v,
        documents=layout.documents,
        positions=layout.positions,
        causal=causal,
        bias=bias.expand(-1, -1, layout.mask.shape[1], -1),
        softcap=softcap,
    )
    same_with_gradients(got, wanted, layout, [q, k, v])


def test_softmax_of_half_precision_scores_is_computed_in_fp32() -> None:
    g = torch.Generator().manual_seed(0)
    scores = 20 * torch.randn(1, 1, 64, 64, generator=g).bfloat16()
    v = torch.ones(1, 1, 64, 1, dtype=torch.bfloat16)
    y = attention.explicit_attention(scores, v)
    assert y.dtype is torch.bfloat16
    assert torch.equal(y, torch.ones_like(y))


def test_explicit_dropout_drops() -> None:
    torch.manual_seed(0)
    scores, v = torch.zeros(1, 1, 200, 200), torch.ones(1, 1, 200, 1)
    y = attention.explicit_attention(scores, v, dropout=0.5)
    assert 0.02 < y.std() < 0.2
    assert abs(y.mean() - 1) < 0.02


def loop_kernel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_q: Tensor,
    cu_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> Tensor:
    """What ``varlen_attn`` computes, document by document, so that its caller is tested without a GPU."""
    assert cu_q is cu_k
    assert max_q == max_k == int(cu_q.diff().max())
    assert enable_gqa == (k.shape[1] != q.shape[1])
    borders = cu_q.tolist()
    pieces = [
        torch.nn.functional.scaled_dot_product_attention(
            *(x[a:b].transpose(0, 1)[None] for x in (q, k, v)),
            is_causal=window_size == (-1, 0),
            enable_gqa=enable_gqa,
        )[0].transpose(0, 1)
        for a, b in pairwise(borders)
    ]
    return torch.cat(pieces)


@given(layouts(), st.sampled_from([1, 4]), st.booleans())
def test_ragged_attention_equals_kernel_attention(layout: Layout, groups: int, causal: bool) -> None:
    if not layout.mask.any():
        return
    q, k, v = inputs(layout, groups)
    got = attention.ragged_attention(q, k, v, layout, causal=causal, kernel=loop_kernel)
    assert (got.transpose(1, 2)[~layout.mask] == 0).all()
    same_with_gradients(got, attention.kernel_attention(q, k, v, layout, causal=causal), layout, [q, k, v])


def test_the_ragged_kernel_is_found_and_is_for_cuda_only() -> None:
    assert isinstance(attention.ragged_kernel(), Callable)
    assert not attention.can_be_ragged(torch.zeros(1, dtype=torch.bfloat16))


@pytest.mark.parametrize("causal", [False, True])
def test_no_mask_is_made_where_none_is_needed(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts = [Layout.full(2, 5)]
    if causal:
        layouts.append(Layout.from_mask(torch.tensor([[True, True, True], [True, False, False]])))

    def forbidden(*_: object) -> None:
        raise AssertionError

    for layout in layouts:
        with monkeypatch.context() as patch:
            if causal:
                patch.setattr(Layout, "attention_mask", forbidden)
            q, k, v = inputs(layout, 4)
            attention.kernel_attention(q, k, v, layout, causal=causal)
        assert not layout.memo


@pytest.mark.parametrize("scale", [1e4, 1e8])
def test_gradients_of_enormous_scores_are_finite_and_right(scale: float) -> None:
    """torch's kernel for the CPU gives NaN here; scores this far apart pick one key, in fp64 as in fp32."""
    g = torch.Generator().manual_seed(0)
    q, k = (scale * torch.randn(1, 2, 200, 8, generator=g) for _ in range(2))
    v = torch.randn(1, 2, 200, 8, generator=g)
    weight = torch.randn(1, 2, 200, 8, generator=g)
    found = []
    for dtype in (torch.float32, torch.float64):
        leaves = [x.to(dtype).requires_grad_() for x in (q, k, v)]
        y = attention.fused_attention(*leaves)
        found.append([y, *torch.autograd.grad(y, leaves, weight.to(dtype))])
    for a, b in zip(*found, strict=True):
        assert a.isfinite().all()
        assert torch.linalg.vector_norm(a - b) <= 1e-2 * (torch.linalg.vector_norm(b) + 1)


@pytest.mark.parametrize("wanted", range(3))
def test_gradients_of_enormous_scores_are_finite_for_each_input_alone(wanted: int) -> None:
    g = torch.Generator().manual_seed(0)
    leaves = [scale * torch.randn(1, 1, 700, 8, generator=g) for scale in (3e5, 3e5, 1.0)]
    leaves[wanted].requires_grad_()
    attention.fused_attention(*leaves).square().sum().backward()
    grad = leaves[wanted].grad
    assert grad is not None
    assert grad.isfinite().all()


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_gradients_of_each_example_by_vmap() -> None:
    """Nobody may look at numbers there."""
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, 1, 2, 5, 4, generator=g) for _ in range(3))

    def loss(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention.fused_attention(q, k, v).square().sum()

    grad = torch.func.grad(loss, (0, 1, 2))
    for got, *one_by_one in zip(
        torch.func.vmap(grad)(q, k, v), *(grad(*row) for row in zip(q, k, v, strict=True)), strict=True
    ):
        torch.testing.assert_close(got, torch.stack(one_by_one))


def test_graphs_and_tensors_without_memory() -> None:
    q, k, v = (torch.randn(1, 2, 5, 4, requires_grad=True) for _ in range(3))
    graph = make_fx(lambda *given: attention.fused_attention(*given))(q, k, v)
    torch.testing.assert_close(graph(q, k, v), attention.fused_attention(q, k, v))
    with FakeTensorMode():
        x = torch.ones(1, 2, 5, 4, requires_grad=True)
        assert attention.fused_attention(x, x, x).shape == x.shape
