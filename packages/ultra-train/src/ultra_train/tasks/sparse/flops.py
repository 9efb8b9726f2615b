"""The FLOPS regulariser, in fp32 and over the batch of all processes."""

from __future__ import annotations

import torch
import torch.distributed
from sentence_transformers.sparse_encoder.losses import FlopsLoss
from torch import Tensor


class GlobalFlops(FlopsLoss):
    """The FLOPS loss (Paria et al. 2020, arXiv 2004.05665) of the rows of all processes together.

    F = sum_v m_v^2,  m_v = 1/N sum_b w_bv over the N rows of all processes

    The loss of each process alone would regularise more strongly, the more processes share a batch: the mean
    over fewer rows varies more, and its square is larger. The value is the same on all processes, and so is
    the gradient that DDP averages. Means and squares are computed in fp32 whatever autocast says, because a
    sum over a vocabulary exceeds the precision of bf16.

    Differs from the paper: nothing.
    """

    def compute_loss_from_embeddings(self, embeddings: Tensor) -> Tensor:
        """Return the loss.

        Args:
            embeddings: rows of this process, ``(batch, vocabulary)``.
        """
        rows = embeddings.float().sum(dim=0)
        own = torch.cat([rows.detach(), rows.new_tensor([len(embeddings)])])
        everything = summed_over_processes(own)
        total = everything[-1]
        # DDP divides gradients by the number of processes; those of the sum over all rows are added.
        share = processes() / total
        mean = everything[:-1] / total + (rows - rows.detach()) * share
        return mean.square().sum()


def summed_over_processes(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, without a gradient."""
    if processes() > 1:
        torch.distributed.all_reduce(values)
    return values


def processes() -> int:
    """Return the number of processes that train together."""
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if ready else 1
