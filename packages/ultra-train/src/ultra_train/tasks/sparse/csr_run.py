"""Runs of CSR."""

from __future__ import annotations

from typing import ClassVar

from sentence_transformers import SparseEncoder
from sentence_transformers.sparse_encoder.losses import CSRLoss
from torch import nn

from ultra_train.tasks.sparse.run import SparseRun


class CsrRun(SparseRun):
    """A run of CSR, whose dimensions are latents of an autoencoder."""

    decodes: ClassVar[bool] = False

    def loss(self, model: SparseEncoder, inner: nn.Module) -> CSRLoss:
        """Return the ranking loss with the reconstruction losses of the autoencoder."""
        return CSRLoss(model, loss=inner, beta=self.options.loss.aux_loss_weight)
