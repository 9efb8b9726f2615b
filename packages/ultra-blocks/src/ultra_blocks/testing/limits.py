"""Rules for the limits that a block declares: the longest batch."""

from __future__ import annotations

import torch

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import BlockCase, output
from ultra_blocks.testing.construction import BLOCK_RULES
from ultra_blocks.testing.differences import check_close
from ultra_core.testing import Finding

LONGEST = 2048
"""Batches of more columns are not tried."""


@BLOCK_RULES("U3", when=lambda case: case.traits.longest is not None, after=("B1",))
def longest_batch(case: BlockCase) -> None:
    """A block accepts batches of as many columns as its trait ``longest`` says, also with padding.

    Fix: ``longest`` is the number of rows of the table or the mask that limits the block, counted from 1.
    """
    columns = min(case.traits.longest or LONGEST, LONGEST)
    x = torch.randn(1, columns, case.hidden_size, generator=torch.Generator().manual_seed(0)).double()
    module = case.build()
    try:
        whole = output(module, x, None)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise Finding(f"longest is {case.traits.longest}, and {columns} columns raise {problem}") from error
    real = max(columns - 3, 1)
    mask = (torch.arange(columns) < real)[None]
    padded = output(module, x, Layout.from_mask(mask))[:, :real]
    alone = output(module, x[:, :real], None)
    check_close(padded, alone, case.allows(1e-11), other="without padding", note=f"T = {columns}")
    check_close(whole, whole.nan_to_num(0.0), 0.0, other="finite", note=f"T = {columns}")
