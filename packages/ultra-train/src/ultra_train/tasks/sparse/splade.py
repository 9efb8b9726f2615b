"""The tasks of SPLADE encoders; importing it imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ultra_train.tasks.base import CardText, Curve
from ultra_train.tasks.sparse.task import RETRIEVAL, SPARSITY, SparseTask, sparse_card

if TYPE_CHECKING:
    from ultra_train.tasks.sparse.run import SparseRun

LOSSES = (
    Curve(
        "Ranking loss and regularisers",
        ("base_loss", "document_regularizer_loss", "query_regularizer_loss", "eval_base_loss"),
    ),
    Curve(
        "Weights of the regularisers",
        ("document_regularizer_weight", "query_regularizer_weight"),
    ),
)


class Splade(SparseTask):
    """Queries and documents as weighted terms of the vocabulary (SPLADE, arXiv 2109.10086)."""

    curves: ClassVar[tuple[Curve, ...]] = (*SPARSITY, RETRIEVAL, *LOSSES)
    card: ClassVar[CardText] = sparse_card("A SPLADE encoder.", "splade")

    def run_class(self) -> type[SparseRun]:
        """Return the class of its runs."""
        from ultra_train.tasks.sparse.splade_run import SpladeRun

        return SpladeRun


class InferenceFreeSplade(Splade):
    """SPLADE whose queries are their tokens, each with a trained weight, without a network."""

    card: ClassVar[CardText] = sparse_card(
        "A SPLADE encoder whose queries need no network.", "splade", "inference-free"
    )
