"""What the losses of all heads have in common."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ultra_blocks.encoder.mlm_head import share_of_update


def with_losses(
    mean: Tensor, losses: Mapping[str, Tensor] | None, labels: Tensor, num_items: Tensor | int | None
) -> Tensor:
    """Return the share of a micro-batch in the loss of an update.

    Args:
        mean: mean loss over the labels of this micro-batch.
        losses: auxiliary losses of the encoder by name, which are added.
        labels: the labels; those that are -100 do not count.
        num_items: labels of all micro-batches of the update; None: those of this one.
    """
    if losses:
        mean = mean + torch.stack(list(losses.values())).sum()
    return mean if num_items is None else mean * share_of_update(labels, num_items, mean.dtype)
