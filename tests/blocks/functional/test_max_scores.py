"""The largest score of each head, by tiles, against a loop over pairs."""

import pytest
import torch
from torch import Tensor

from ultra_blocks.functional import tile_scores
from ultra_blocks.functional.max_scores import max_of_scores, max_scores
from ultra_blocks.layout import Layout
from ultra_blocks.reference.attention import max_logits

LAYOUTS = {
    "full": Layout.full(3, 11),
    "right": Layout.from_mask(torch.arange(11) < torch.tensor([[11], [4], [7]])),
    "left": Layout.from_mask(torch.arange(11) >= torch.tensor([[0], [4], [7]])),
    "packed": Layout.from_mask(
        torch.arange(11) != torch.tensor([[2], [0], [9]]), (torch.arange(11) // 4).expand(3, 11)
    ),
    "nothing": Layout.from_mask(torch.zeros(3, 11, dtype=torch.bool)),
}


def draw(heads: int, seed: int) -> Tensor:
    """Large at padding too, and only negative logits in the first head of q."""
    return 3 * torch.randn(3, heads, 11, 6, generator=torch.Generator().manual_seed(seed)).double() - 1


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("tiles", [1, 20])
def test_against_a_loop(layout, causal, window, tiles, monkeypatch) -> None:
    if tiles > 1:
        monkeypatch.setattr(tile_scores, "BUDGET", {"cpu": 33, "cuda": 0})
        monkeypatch.setattr(tile_scores, "MIN_ROWS", 3)
    q, k = draw(4, 0), draw(2, 1)
    q[:, 0], k[:, 0] = -q[:, 0].abs() - 0.1, k[:, 0].abs() + 0.1
    scores = q @ k.repeat_interleave(2, 1).mT / 6**0.5
    options = {"causal": causal, "window": window}
    want = max_logits(scores, documents=layout.documents, positions=layout.positions, **options)
    if layout is not LAYOUTS["nothing"]:
        assert want[0] < 0, "a zero that is no logit must not be the largest"
    torch.testing.assert_close(max_scores(q, k, layout, **options), want, rtol=1e-12, atol=0)
    torch.testing.assert_close(max_of_scores(scores, layout, **options), want, rtol=1e-12, atol=0)


def test_no_square_is_in_memory_and_half_precision_gives_fp32() -> None:
    q = torch.randn(1, 1, 4096, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.profiler.profile(profile_memory=True) as profile:
        found = max_scores(q, q, Layout.full(1, 4096))
    assert found.dtype is torch.float32
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert 0 < largest < 4096 * 4096 * 2
