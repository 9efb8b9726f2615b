"""What the losses of all heads have in common."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ultra_blocks.encoder.mlm_head import share_of_update


def with_losses(
    loss: Tensor, losses: Mapping[str, Tensor] | None, labels: Tensor, num_items: Tensor | int | None
) -> Tensor:
    """Return the loss of a micro-batch with the auxiliary losses of the encoder.

    Args:
        loss: sum over the labels of this micro-batch, divided by their number in the update.
        losses: auxiliary losses by name, which are weighted by the share of this micro-batch in the update.
        labels: the labels; those that are -100 do not count.
        num_items: labels of all micro-batches of the update; None: those of this one.
    """
    if not losses:
        return loss
    return loss + share_of_update(labels, num_items, loss.dtype) * torch.stack(list(losses.values())).sum()
