"""Measuring how sparse the representations are that a loss sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class SparsityMeter:
    """Counts the active dimensions of queries and documents in the batches since the last reset.

    Nothing leaves the device before :meth:`read`.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._rows: dict[str, int] = {}

    @property
    def dimensions(self) -> int:
        """Length of a representation; 0 before the first batch."""
        return next((len(total) for total in self._sums.values()), 0)

    def reset(self) -> None:
        """Forget everything."""
        self._sums.clear()
        self._rows.clear()

    @torch.no_grad()
    def add(self, columns: Sequence[Tensor]) -> None:
        """Count a batch.

        Args:
            columns: the representations of each column of the data, ``(batch, dimensions)``; the first is
                the query, the others are documents.
        """
        for name, rows in (("query", columns[:1]), ("document", columns[1:])):
            for embeddings in rows:
                active = (embeddings != 0).sum(dim=0)
                self._sums[name] = self._sums[name] + active if name in self._sums else active
                self._rows[name] = self._rows.get(name, 0) + len(embeddings)

    def read(self) -> dict[str, float]:
        """Return the measurements; empty when there was no batch.

        ``query_active_dims`` and ``document_active_dims`` are means over texts; ``flops`` is the number of
        products that the score of a query and a document takes on average, sum_v p_v(query) p_v(document)
        with the shares p of texts in which dimension v is active (Formal et al. 2021, arXiv 2109.10086).
        """
        shares = {name: total.float() / self._rows[name] for name, total in self._sums.items()}
        found = {f"{name}_active_dims": float(share.sum()) for name, share in shares.items()}
        if len(shares) == 2:
            found["flops"] = float(shares["query"] @ shares["document"])
        return found


class MeteredLoss(nn.Module):
    """A ranking loss that shows the representations to a meter.

    Args:
        loss: a loss of sentence-transformers for embeddings.
        training: the meter of batches that are trained on.
        evaluation: the meter of batches that are evaluated.
    """

    def __init__(self, loss: nn.Module, *, training: SparsityMeter, evaluation: SparsityMeter) -> None:
        super().__init__()
        self.loss: Any = loss
        self.training_meter = training
        self.evaluation_meter = evaluation

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Tensor | None = None) -> Any:
        """Return what the loss returns."""
        meter = self.training_meter if torch.is_grad_enabled() else self.evaluation_meter
        meter.add(embeddings)
        return self.loss.compute_loss_from_embeddings(embeddings, labels)

    def get_config_dict(self) -> Mapping[str, Any]:
        """Return the configuration of the loss."""
        return {"loss": type(self.loss).__name__}
