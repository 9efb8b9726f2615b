"""Runs of SPLADE, with and without a network for queries."""

from __future__ import annotations

from typing import Any

from sentence_transformers import SparseEncoder
from sentence_transformers.sparse_encoder.losses import CachedSpladeLoss, SpladeLoss
from torch import nn

from ultra_train.tasks.sparse.flops import GlobalFlops
from ultra_train.tasks.sparse.run import SparseRun


class SpladeRun(SparseRun):
    """A run of SPLADE."""

    def loss(self, model: SparseEncoder, inner: nn.Module) -> SpladeLoss:
        """Return the ranking loss with regularisers; a weight of 0 leaves that of queries out."""
        wanted = self.options.loss
        arguments: dict[str, Any] = {
            "loss": inner,
            "document_regularizer_weight": wanted.document_regularizer_weight,
            "query_regularizer_weight": wanted.query_regularizer_weight,
            "document_regularizer": GlobalFlops(model),
            "query_regularizer": GlobalFlops(model),
        }
        if wanted.type == "cached_splade_loss":
            loss: SpladeLoss = CachedSpladeLoss(model, **arguments, mini_batch_size=wanted.mini_batch_size)
        else:
            loss = SpladeLoss(model, **arguments)
        if not wanted.query_regularizer_weight:  # the library warns of None, which is right without a network
            loss.query_regularizer_weight = None
        return loss
