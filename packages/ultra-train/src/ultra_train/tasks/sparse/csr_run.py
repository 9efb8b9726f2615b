"""Runs of CSR."""

from __future__ import annotations

from typing import ClassVar

from sentence_transformers import SparseEncoder
from sentence_transformers.sentence_transformer.modules import Normalize
from sentence_transformers.sparse_encoder.losses import CSRLoss
from torch import nn

from ultra_train.tasks.sparse.inner_losses import DEFAULT
from ultra_train.tasks.sparse.run import SparseRun

NORMALISED_SCALE = 20.0
"""Factor of similarities between codes of vectors of length 1, which are at most about 1.

Without it the ranking loss can only lengthen the codes: they collapse onto a few latents of all texts.
"""


class CsrRun(SparseRun):
    """A run of CSR, whose dimensions are latents of an autoencoder."""

    decodes: ClassVar[bool] = False

    def loss(self, model: SparseEncoder, inner: nn.Module) -> CSRLoss:
        """Return the ranking loss with the reconstruction losses of the autoencoder."""
        return CSRLoss(model, loss=inner, beta=self.options.loss.aux_loss_weight)

    def scale(self, model: SparseEncoder) -> float | None:
        """Return the factor of the similarities in the ranking loss."""
        own = super().scale(model)
        normalised = any(isinstance(module, Normalize) for module in model.children())
        return NORMALISED_SCALE if own is None and normalised and self.inner is DEFAULT else own
