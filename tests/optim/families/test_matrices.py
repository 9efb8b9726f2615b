"""Which views of a parameter are its matrices."""

from __future__ import annotations

import torch

from ultra_optim.families.matrices import matrices_in


def test_equal_row_blocks_are_one_batch_in_order() -> None:
    fused = torch.arange(24.0).view(6, 4)
    (batch,) = matrices_in(fused, [2, 2, 2])
    assert batch.shape == (3, 2, 4)
    assert batch.data_ptr() == fused.data_ptr()
    assert torch.equal(batch[1], fused[2:4])


def test_unequal_row_blocks_are_apart() -> None:
    fused = torch.arange(24.0).view(6, 4)
    assert [tuple(m.shape) for m in matrices_in(fused, [4, 1, 1])] == [(1, 4, 4), (1, 1, 4), (1, 1, 4)]


def test_experts_keep_their_batch() -> None:
    stacked = torch.zeros(5, 6, 4)
    assert [tuple(m.shape) for m in matrices_in(stacked, [3, 3], 0)] == [(5, 3, 4), (5, 3, 4)]
