"""Telling when representations are not sparse encodings any more: empty, or dense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

DENSE = 0.25
"""Share of active dimensions of documents above which an index gains nothing from sparsity."""

COLLAPSED = 0.5
"""Mean number of active dimensions below which at least every other text has none."""


@attrs.frozen(kw_only=True)
class Expected:
    """What representations are measured against.

    Attributes:
        dimensions: length of a representation.
        regularized_from: the update from which the regularisers have their full weights; a representation
            may be dense before.
    """

    dimensions: int
    regularized_from: int


def alarms(measured: Mapping[str, float], expected: Expected, step: int) -> Iterator[tuple[str, str]]:
    """Yield the name and the words of every alarm.

    Args:
        measured: what ``SparsityMeter.read`` returns.
        expected: what it is measured against.
        step: the update.
    """
    for side, key in (("queries", "query_active_dims"), ("documents", "document_active_dims")):
        value = measured.get(key)
        if value is not None and value < COLLAPSED:
            yield (
                f"collapsed_{side}",
                f"{side} have {value:.2g} active dimensions on average, so that nothing is found any more; "
                f"lower loss.{_weight(side)} or training.learning_rate",
            )
    documents = measured.get("document_active_dims", 0.0)
    if step >= expected.regularized_from and documents > DENSE * expected.dimensions:
        yield (
            "dense_documents",
            f"documents have {documents:,.0f} of {expected.dimensions:,} dimensions active on average, "
            "although the regularisers have their full weights; raise loss.document_regularizer_weight. If "
            "that does not help, the head of the base model gives no zeros: model.patch_sigmoid_for_sparsity",
        )


def _weight(side: str) -> str:
    return "query_regularizer_weight" if side == "queries" else "document_regularizer_weight"
