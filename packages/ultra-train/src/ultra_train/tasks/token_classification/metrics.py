"""Metrics of entities, computed by seqeval."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score

Tags = Sequence[Sequence[str]]


def entity_metrics(true: Tags, found: Tags) -> dict[str, float]:
    """Return precision, recall and F1 of whole entities, their macro-F1, and the accuracy of tags.

    An entity is right if its kind, its first and its last word are, as the script ``conlleval`` counts.
    Macro-F1 is the mean over the kinds of entities.

    Args:
        true: the tags of the words of every text.
        found: those of the model.
    """
    true, found = [list(tags) for tags in true], [list(tags) for tags in found]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of kinds that have no entity, which count as 0
        return {
            "precision": float(precision_score(true, found, zero_division=0)),
            "recall": float(recall_score(true, found, zero_division=0)),
            "f1": float(f1_score(true, found, zero_division=0)),
            "macro_f1": float(f1_score(true, found, average="macro", zero_division=0)),
            "accuracy": float(accuracy_score(true, found)),
        }
