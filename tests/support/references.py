"""What the reference of a block gives for a padded and packed batch: one document after another."""

from typing import Any

import torch
from torch import Tensor

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer
from ultra_blocks.testing import BlockCase
from ultra_blocks.testing.references import arguments_of, reference_of


def by_the_reference(block: Mixer, x: Tensor, layout: Layout | None = None, **options: Any) -> Tensor:
    """Return the reference's output ``(B, T, D)`` of every document at its place, and zeros at padding.

    Args:
        block: the block, whose parameters the reference reads.
        x: ``(B, T, D)``.
        layout: None: every row is a document.
        options: those with which the block was built, except for the direction.
    """
    layout = layout or Layout.full(*x.shape[:2])
    case = BlockCase(
        name=type(block).__name__,
        cls=type(block),
        options=options,
        hidden_size=block.hidden_size,
        causal=block.causal,
    )
    reference, arguments = reference_of(case), arguments_of(case, {})
    state = {**dict(block.named_parameters()), **dict(block.named_buffers())}
    y = 0 * torch.where(layout.mask[..., None], x, 0.0)  # with gradients, also of batches without tokens
    for row, ids in enumerate(layout.documents):
        for document in ids[ids >= 0].unique():
            here = ids == document
            y[row, here] = reference(x[row, here], state, **arguments)
    return y
