from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ultra_blocks.functional import tile_scores
from ultra_blocks.functional.attention import explicit_attention, repeat_heads
from ultra_blocks.functional.softcap_attention import masked_softcap_attention, softcap_attention
from ultra_blocks.layout import Layout

SIZES = [(1, 2), (60, 3), (2**17, 256)]
"""Tiles of a few rows, of some heads, of several batch rows."""


def drawn(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=g, dtype=torch.float64).requires_grad_() for shape in shapes]


def scores_of(q: Tensor, k: Tensor) -> Tensor:
    return q @ repeat_heads(k, q.shape[1]).mT * q.shape[-1] ** -0.5


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([None, (1, 1), (4, 1), (1, 0), (4, 0)]),
    st.sampled_from([None, 0.7]),
    st.sampled_from(SIZES),
    st.integers(0, 99),
)
def test_equals_the_explicit_form_with_all_gradients(
    lengths: tuple[int, int],
    groups: int,
    masked: tuple[int, int] | None,
    softcap: float | None,
    size: tuple[int, int],
    seed: int,
) -> None:
    """As many keys as queries, more, or fewer; masks for each head or all, each query or all."""
    rows, read = lengths
    leaves = drawn(seed, (3, 4, rows, 6), (3, groups, read, 6), (3, groups, read, 5))
    q, k, v = leaves
    seen = None
    if masked is not None:
        g = torch.Generator().manual_seed(seed + 1)
        seen = torch.rand(3, masked[0], masked[1] or rows, read, generator=g) < 0.6
        seen[..., 0] |= ~seen.any(-1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tile_scores.BUDGET, "cpu", size[0])
        patch.setattr(tile_scores, "MIN_ROWS", size[1])
        y = masked_softcap_attention(q, k, v, seen, softcap=softcap)
        noise = torch.randn_like(y)
        ours = torch.autograd.grad(y, leaves, noise)
    wanted = explicit_attention(scores_of(q, k), v, mask=seen, softcap=softcap)
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours, torch.autograd.grad(wanted, leaves, noise), rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"window": 4}, {"causal": True, "window": 2}])
@pytest.mark.parametrize("softcap", [None, 0.7])
def test_a_layout_says_what_is_seen(options: dict[str, Any], softcap: float | None) -> None:
    q, k, v = drawn(0, (2, 4, 9, 6), (2, 2, 9, 6), (2, 2, 9, 5))
    layout = Layout.from_mask(torch.arange(9) < torch.tensor([[9], [6]]))
    y = softcap_attention(q, k, v, layout, softcap=softcap, **options)
    mask = layout.attention_mask(options.get("causal", False), options.get("window"))
    wanted = explicit_attention(scores_of(q, k), v, mask=mask, softcap=softcap)
    real = layout.mask[:, None, :, None]
    torch.testing.assert_close(y.where(real, 0.0), wanted.where(real, 0.0), rtol=0, atol=1e-12)


def test_neither_scores_nor_weights_are_kept() -> None:
    kept = []

    def pack(x: Tensor) -> Tensor:
        kept.append(x.numel())
        return x

    q, k, v = drawn(0, (2, 2, 50, 4), (2, 2, 70, 4), (2, 2, 70, 4))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        masked_softcap_attention(q, k, v, softcap=2.0).sum().backward()
    assert max(kept) == k.numel() < 2 * 2 * 50 * 70


def test_it_can_be_traced() -> None:
    q, k, v = (x.detach() for x in drawn(0, (2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 6)))
    seen = torch.rand(2, 1, 1, 5) < 2
    arguments = (q, k, v, *(None,) * 7, seen, False, 0, 2.0, True, 0.0)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.ultra.tiled_attention.default, arguments, test_utils=checks)
    backward = (q.new_ones(2, 2, 3, 6), *arguments)
    torch.library.opcheck(torch.ops.ultra.tiled_attention_backward.default, backward, test_utils=checks)
