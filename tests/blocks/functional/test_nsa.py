import pytest
import torch

from ultra_blocks.functional.attention import explicit_attention
from ultra_blocks.functional.nsa import (
    TILE,
    Selection,
    compressed_attention,
    select_blocks,
    selected_attention,
    tiles_of,
)

SELECTION = Selection(size=4, count=3, local=1, window=4, stride=2, causal=False)


def select(weights: torch.Tensor, rank: int, selection: Selection = SELECTION, blocks: int = 6) -> list[int]:
    numbers = torch.arange(blocks)[None]
    admissible = (
        numbers[:, None] * selection.size <= rank if selection.causal else torch.ones(1, 1, blocks) > 0
    )
    selected, valid = select_blocks(weights, torch.tensor([[rank]]), numbers, admissible, selection)
    return sorted(selected[valid].tolist())


def one(block: int, blocks: int = 6) -> torch.Tensor:
    return torch.eye(2 * blocks)[block].view(1, 1, 1, -1)


def test_the_first_and_the_query_s_own_block_are_always_selected() -> None:
    assert select(one(4), rank=22) == [0, 2, 5]


def test_a_compressed_block_counts_for_every_block_that_it_overlaps() -> None:
    # compressed block 5 covers tokens 10 .. 13: the end of block 2, the begin of block 3
    four = Selection(size=4, count=4, local=1, window=4, stride=2, causal=False)
    assert select(one(5), rank=22, selection=four) == [0, 2, 3, 5]


def test_the_near_neighbour_is_on_the_side_where_the_query_stands() -> None:
    two = Selection(size=4, count=3, local=2, window=4, stride=2, causal=False)
    assert select(one(10), rank=9, selection=two) == [0, 1, 2]
    assert select(one(10), rank=10, selection=two) == [0, 2, 3]
    back = Selection(size=4, count=3, local=2, window=4, stride=2, causal=True)
    assert select(one(0), rank=15, selection=back) == [0, 2, 3]


def test_no_more_blocks_than_there_are_and_none_ahead() -> None:
    back = Selection(size=4, count=5, local=2, window=4, stride=2, causal=True)
    assert select(torch.zeros(1, 1, 1, 12), rank=6, selection=back) == [0, 1]


def test_blocks_are_selected_for_each_query() -> None:
    weights = torch.cat([one(4), one(8)], 2)
    rank = torch.tensor([[22, 22]])
    selected, _ = select_blocks(
        weights, rank, torch.arange(6)[None], torch.ones(1, 2, 6, dtype=torch.bool), SELECTION
    )
    assert [sorted(row) for row in selected[0, 0].tolist()] == [[0, 2, 5], [0, 4, 5]]


def test_weights_are_summed_over_the_heads_of_a_group_and_a_query_without_keys_gives_zeros() -> None:
    q, k, v = torch.randn(1, 4, 3, 8), torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 8)
    allowed = torch.ones(1, 3, 5, dtype=torch.bool)
    allowed[0, 1] = False
    y, weights = compressed_attention(q, k, v, allowed)
    full = (q @ k.repeat_interleave(2, 1).transpose(-1, -2) * 8**-0.5).softmax(-1)
    full[:, :, 1] = 0
    torch.testing.assert_close(weights, full.unflatten(1, (2, 2)).sum(2))
    torch.testing.assert_close(y, full @ v.repeat_interleave(2, 1))
    assert not weights.requires_grad


@pytest.mark.parametrize("causal", [False, True])
def test_equals_a_dense_mask_forward_and_gradient(causal: bool) -> None:
    torch.manual_seed(0)
    size, number, queries = 4, 10, 40
    q = torch.randn(2, 4, queries, 8, dtype=torch.float64, requires_grad=True)
    k, v = (torch.randn(2, 2, 40, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    selected = torch.rand(2, 2, queries, number).argsort(-1)[..., :3]
    valid = torch.rand(selected.shape) < 0.8
    real = torch.arange(40) < torch.tensor([[40], [31]])
    last = torch.arange(queries).expand(2, -1) if causal else None
    seen = torch.zeros(2, 2, queries, number, dtype=torch.bool).scatter(3, selected, valid)
    seen = seen.repeat_interleave(size, 3) & real[:, None, None]
    if causal:
        seen &= torch.ones(40, 40, dtype=torch.bool).tril()
    mask = seen.repeat_interleave(2, 1)
    some = mask.any(-1, keepdim=True)
    scores = q @ k.repeat_interleave(2, 1).transpose(-1, -2) * 8**-0.5
    wanted = explicit_attention(scores, v, mask=mask | ~some).where(some, 0)
    got = selected_attention(q, k, v, selected, valid, real, last, size)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-13)
    ours, theirs = (torch.autograd.grad(y.square().sum(), (q, k, v)) for y in (got, wanted))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_tiles_hold_every_selected_block_once_and_one_block_each() -> None:
    torch.manual_seed(0)
    selected = torch.randint(5, (2, 70, 1))
    valid = torch.rand(selected.shape) < 0.9
    tiles = tiles_of(selected, valid, 5)
    assert tiles.block.shape == (2, 70 // TILE + 5)
    for r in range(2):
        for t in range(70):
            slot = int(tiles.slot[r, t, 0])
            if valid[r, t, 0]:
                assert tiles.query[r, slot] == t
                assert tiles.block[r, slot // TILE] == selected[r, t, 0]
            else:
                assert slot == tiles.query.shape[1]
    assert (tiles.query < 70).sum() == valid.sum()
