import pytest
import torch

from ultra_blocks.functional.block_sparse import random_blocks
from ultra_blocks.reference.bigbird_attn import random_links

SEED = torch.tensor(1234)


def drawn(block: torch.Tensor, count: int | None, heads: int = 2, number: int = 3, seed=SEED):
    counts = None if count is None else torch.full_like(block, count)
    return random_blocks(block, counts, seed, heads, number)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 6, 7, 8, 30])
@pytest.mark.parametrize("causal", [False, True])
def test_draws_are_those_of_the_reference_distinct_and_not_seen_anyway(count: int, causal: bool) -> None:
    block = torch.arange(count)
    chosen, valid = drawn(block, None if causal else count)
    for b in range(count) if causal else range(1, count - 1):
        for h in range(2):
            mine = chosen[b, h][valid[b, h]].tolist()
            free = range(1, b - 1) if causal else [j for j in range(1, count - 1) if abs(j - b) > 1]
            assert len(set(mine)) == len(mine) == min(3, len(free))
            assert set(mine) <= set(free)
            assert set(mine) == random_links(b, count, 1234, h, 3, causal=causal)


def test_draws_differ_by_seed_and_head_and_cover_all_blocks_alike() -> None:
    seeds = torch.arange(400)
    each = [random_blocks(torch.tensor([21]), torch.tensor([44]), seed, 2, 3)[0][0] for seed in seeds]
    chosen = torch.stack(each)
    assert (chosen[:, 0] != chosen[:, 1]).any(-1).float().mean() > 0.9
    hits = chosen.flatten().bincount(minlength=44)
    free = [j for j in range(1, 43) if abs(j - 21) > 1]
    assert hits.sum() == hits[free].sum()
    expected = chosen.numel() / len(free)
    assert (hits[free] - expected).abs().max() < 5 * expected**0.5


def test_no_links_at_all() -> None:
    chosen, valid = drawn(torch.arange(9), 9, number=0)
    assert chosen.shape == valid.shape == (9, 2, 0)
