import torch

from ultra_blocks.functional.block_choice import Choice, choose_blocks, compressed_attention

CHOICE = Choice(size=4, count=3, local=1, window=4, stride=2, causal=False)


def choose(weights: torch.Tensor, rank: int, choice: Choice = CHOICE, blocks: int = 6) -> list[int]:
    numbers = torch.arange(blocks)[None]
    admissible = numbers[:, None] * choice.size <= rank if choice.causal else torch.ones(1, 1, blocks) > 0
    chosen, valid = choose_blocks(weights, torch.tensor([[rank]]), numbers, admissible, choice)
    return sorted(chosen[valid].tolist())


def one(block: int, blocks: int = 6) -> torch.Tensor:
    return torch.eye(2 * blocks)[block].view(1, 1, 1, -1)


def test_the_first_and_the_query_s_own_block_are_always_chosen() -> None:
    assert choose(one(4), rank=22) == [0, 2, 5]


def test_a_compressed_block_counts_for_every_block_that_it_overlaps() -> None:
    # compressed block 5 covers tokens 10 .. 13: the end of block 2, the begin of block 3
    four = Choice(size=4, count=4, local=1, window=4, stride=2, causal=False)
    assert choose(one(5), rank=22, choice=four) == [0, 2, 3, 5]


def test_the_near_neighbour_is_on_the_side_where_the_query_stands() -> None:
    two = Choice(size=4, count=3, local=2, window=4, stride=2, causal=False)
    assert choose(one(10), rank=9, choice=two) == [0, 1, 2]
    assert choose(one(10), rank=10, choice=two) == [0, 2, 3]
    back = Choice(size=4, count=3, local=2, window=4, stride=2, causal=True)
    assert choose(one(0), rank=15, choice=back) == [0, 2, 3]


def test_no_more_blocks_than_there_are_and_none_ahead() -> None:
    back = Choice(size=4, count=5, local=2, window=4, stride=2, causal=True)
    assert choose(torch.zeros(1, 1, 1, 12), rank=6, choice=back) == [0, 1]


def test_each_query_chooses_for_itself() -> None:
    weights = torch.cat([one(4), one(8)], 2)
    rank = torch.tensor([[22, 22]])
    chosen, _ = choose_blocks(
        weights, rank, torch.arange(6)[None], torch.ones(1, 2, 6, dtype=torch.bool), CHOICE
    )
    assert [sorted(row) for row in chosen[0, 0].tolist()] == [[0, 2, 5], [0, 4, 5]]


def test_weights_are_summed_over_the_heads_of_a_group_and_who_sees_nothing_reads_zeros() -> None:
    q, k, v = torch.randn(1, 4, 3, 8), torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 8)
    allowed = torch.ones(1, 3, 5, dtype=torch.bool)
    allowed[0, 1] = False
    y, weights = compressed_attention(q, k, v, allowed)
    full = (q @ k.repeat_interleave(2, 1).transpose(-1, -2) * 8**-0.5).softmax(-1)
    full[:, :, 1] = 0
    torch.testing.assert_close(weights, full.unflatten(1, (2, 2)).sum(2))
    torch.testing.assert_close(y, full @ v.repeat_interleave(2, 1))
    assert not weights.requires_grad
