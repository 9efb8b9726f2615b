import pytest
import torch

from ultra_blocks.functional.attention import explicit_attention
from ultra_blocks.functional.chosen_blocks import TILE, chosen_attention, tiles_of


@pytest.mark.parametrize("causal", [False, True])
def test_equals_a_dense_mask_forward_and_gradient(causal: bool) -> None:
    torch.manual_seed(0)
    size, number, queries = 4, 10, 40
    q = torch.randn(2, 4, queries, 8, dtype=torch.float64, requires_grad=True)
    k, v = (torch.randn(2, 2, 40, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    chosen = torch.rand(2, 2, queries, number).argsort(-1)[..., :3]
    valid = torch.rand(chosen.shape) < 0.8
    real = torch.arange(40) < torch.tensor([[40], [31]])
    last = torch.arange(queries).expand(2, -1) if causal else None
    seen = torch.zeros(2, 2, queries, number, dtype=torch.bool).scatter(3, chosen, valid)
    seen = seen.repeat_interleave(size, 3) & real[:, None, None]
    if causal:
        seen &= torch.ones(40, 40, dtype=torch.bool).tril()
    mask = seen.repeat_interleave(2, 1)
    some = mask.any(-1, keepdim=True)
    scores = q @ k.repeat_interleave(2, 1).transpose(-1, -2) * 8**-0.5
    wanted = explicit_attention(scores, v, mask=mask | ~some).where(some, 0)
    got = chosen_attention(q, k, v, chosen, valid, real, last, size)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-13)
    ours, theirs = (torch.autograd.grad(y.square().sum(), (q, k, v)) for y in (got, wanted))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_tiles_hold_every_choice_once_and_one_block_each() -> None:
    torch.manual_seed(0)
    chosen = torch.randint(5, (2, 70, 1))
    valid = torch.rand(chosen.shape) < 0.9
    tiles = tiles_of(chosen, valid, 5)
    assert tiles.block.shape == (2, 70 // TILE + 5)
    for r in range(2):
        for t in range(70):
            slot = int(tiles.slot[r, t, 0])
            if valid[r, t, 0]:
                assert tiles.query[r, slot] == t
                assert tiles.block[r, slot // TILE] == chosen[r, t, 0]
            else:
                assert slot == tiles.query.shape[1]
    assert (tiles.query < 70).sum() == valid.sum()
