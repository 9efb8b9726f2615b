"""The ranking losses inside those of sparse encoders, by name; importing it imports no torch."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs

from ultra_core.errors import did_you_mean, listed

if TYPE_CHECKING:
    from torch import nn

    from ultra_train.data.pairs.kinds import PairKind


@attrs.frozen
class InnerLoss:
    """A loss of sentence-transformers on representations.

    Attributes:
        name: its name in presets.
        class_name: the class.
        kinds: the kinds of rows that it takes, the usual one first.
        needs: columns that rows must have beside those of their kind.
        reads: columns of scores, of which rows must have one: the difference of two scores of a teacher, or
            its scores of all documents of a row.
        negatives_in_batch: whether the other texts of a batch are negatives, so that none may be twice in it.
        scaled: whether similarities are multiplied by a factor.
    """

    name: str
    class_name: str
    kinds: tuple[PairKind, ...]
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    negatives_in_batch: bool = False
    scaled: bool = False

    def build(self, model: Any, scale: float | None = None) -> nn.Module:
        """Return the loss for a model.

        Args:
            model: the encoder.
            scale: factor of the similarities; None: that of the library.
        """
        losses = import_module("sentence_transformers.sparse_encoder.losses")
        options = {} if scale is None else {"scale": scale}
        loss: nn.Module = getattr(losses, self.class_name)(model, **options)
        return loss


_RANKING: tuple[PairKind, ...] = ("qa", "pairs", "triplets")
_SIMILARITY: tuple[PairKind, ...] = ("paired_similarity",)

DEFAULT = InnerLoss(
    "sparse_multiple_negatives_ranking",
    "SparseMultipleNegativesRankingLoss",
    _RANKING,
    negatives_in_batch=True,
    scaled=True,
)
INNER_LOSSES = {
    loss.name: loss
    for loss in (
        DEFAULT,
        InnerLoss("sparse_triplet", "SparseTripletLoss", ("triplets",)),
        InnerLoss("sparse_margin_mse", "SparseMarginMSELoss", _RANKING, ("negative",), ("score", "label")),
        InnerLoss("sparse_distill_kl", "SparseDistillKLDivLoss", _RANKING, ("negative",), ("label",)),
        InnerLoss("sparse_cosent", "SparseCoSENTLoss", _SIMILARITY, scaled=True),
        InnerLoss("sparse_angle", "SparseAnglELoss", _SIMILARITY, scaled=True),
        InnerLoss("sparse_cosine_similarity", "SparseCosineSimilarityLoss", _SIMILARITY),
    )
}
"""Every inner loss by its name."""

SHORT = {
    "mnrl": DEFAULT.name,
    "mnr": DEFAULT.name,
    "infonce": DEFAULT.name,
    "sparsemnrl": DEFAULT.name,
    "sparsedistillkldiv": "sparse_distill_kl",
    "distillkldiv": "sparse_distill_kl",
    "kldiv": "sparse_distill_kl",
}
"""Other names, without punctuation."""


def find_inner_loss(name: str | None) -> InnerLoss | None:
    """Return the inner loss that a name means, also that of its class; None for an unknown name."""
    if name is None:
        return DEFAULT
    plain = _plain(name)
    wanted = SHORT.get(plain, plain)
    known = {_plain(loss.name): loss for loss in INNER_LOSSES.values()}
    return known.get(_plain(wanted)) or known.get(f"sparse{wanted}")


def unknown(name: str) -> str:
    """Return the message about a name that ``find_inner_loss`` does not know."""
    return (
        f"there is no inner loss {name!r}.{did_you_mean(name, INNER_LOSSES)} "
        f"There are: {listed(sorted(INNER_LOSSES))}"
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("loss")
