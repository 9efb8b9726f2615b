"""What holds for every block at padding."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout


def check_padding(block: nn.Module, x: Tensor, holes: Sequence[int]) -> None:
    """Check that one row ``(1, T, D)`` with NaN at ``holes`` gives what its real tokens alone give.

    Outputs and gradients at padding must be exact zeros.
    """
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    mask[0, holes] = False
    filled = x.masked_fill(~mask[..., None], float("nan")).requires_grad_()
    y = block(filled, Layout.from_mask(mask))
    assert (y[mask] - block(x[mask][None])[0]).abs().max() < 1e-13
    assert (y[~mask] == 0).all()
    (gradient,) = torch.autograd.grad(y.sum(), filled)
    assert gradient.isfinite().all()
    assert (gradient[~mask] == 0).all()
