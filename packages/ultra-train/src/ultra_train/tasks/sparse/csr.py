"""The task ``csr``; importing it imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ultra_train.tasks.base import CardText, Curve
from ultra_train.tasks.sparse.task import RETRIEVAL, SPARSITY, SparseTask, sparse_card

if TYPE_CHECKING:
    from ultra_train.tasks.sparse.run import SparseRun


class Csr(SparseTask):
    """Dense embeddings as a few latents of a sparse autoencoder (CSR, arXiv 2503.01776)."""

    curves: ClassVar[tuple[Curve, ...]] = (
        *SPARSITY,
        RETRIEVAL,
        Curve("Ranking loss", ("base_loss", "eval_base_loss")),
        Curve(
            "Reconstruction losses",
            ("reconstruction_loss_k", "reconstruction_loss_4k", "reconstruction_loss_aux"),
        ),
    )
    card: ClassVar[CardText] = sparse_card(
        "A sparse encoder on top of dense embeddings (Contrastive Sparse Representation).", "csr"
    )

    def run_class(self) -> type[SparseRun]:
        """Return the class of its runs."""
        from ultra_train.tasks.sparse.csr_run import CsrRun

        return CsrRun
