"""Measures of similarities: correlation with scores, accuracy on triplets, separation of two classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from ultra_train.evaluation.statistics import Statistic, mean_of, pearson_of, spearman_of

PairTask = Literal["sts", "triplets", "binary"]
"""What is evaluated: scored pairs, triplets, or pairs that match or do not."""

HEADLINES: dict[PairTask, str] = {"sts": "Spearman", "triplets": "accuracy", "binary": "AP"}
"""The measure of each task that systems are compared by."""


def sts_statistics(similarities: np.ndarray, scores: np.ndarray) -> dict[str, Statistic]:
    """Return Spearman's and Pearson's correlation of similarities and scores ``(N,)``."""
    return {"Spearman": spearman_of(similarities, scores), "Pearson": pearson_of(similarities, scores)}


def triplet_statistics(margins: np.ndarray) -> dict[str, Statistic]:
    """Return the share of triplets whose positive is nearer than every negative.

    Args:
        margins: similarity of the positive minus the largest one of a negative ``(N,)``.
    """
    return {"accuracy": mean_of((margins > 0).astype(np.float64))}


def binary_statistics(similarities: np.ndarray, labels: np.ndarray) -> dict[str, Statistic]:
    """Return average precision, and F1 and accuracy at the threshold that is best for each.

    Args:
        similarities: similarity of each pair ``(N,)``.
        labels: whether it matches ``(N,)``.
    """
    from sklearn.metrics import average_precision_score

    return {
        "AP": _each(
            lambda weights: average_precision_score(labels, similarities, sample_weight=weights), labels
        ),
        "F1": _each(lambda weights: best_f1(similarities, labels, weights)[0], labels),
        "accuracy": _each(lambda weights: best_accuracy(similarities, labels, weights)[0], labels),
    }


def best_f1(
    similarities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """Return the highest F1 and its threshold; pairs from the threshold on are taken as matches."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(labels, similarities, sample_weight=weights)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)[:-1]
    return float(f1.max()), float(thresholds[f1.argmax()])


def best_accuracy(
    similarities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """Return the highest accuracy and its threshold; pairs from the threshold on are taken as matches."""
    from sklearn.metrics import roc_curve

    share = float(np.average(labels, weights=weights))
    false, true, thresholds = roc_curve(labels, similarities, sample_weight=weights)
    accuracy = share * true + (1 - share) * (1 - false)
    return float(accuracy.max()), float(thresholds[accuracy.argmax()])


def _each(measure: Callable[[np.ndarray], float], labels: np.ndarray) -> Statistic:
    """Return a measure that is computed for one resample after the other; NaN where it has one class only."""

    def statistic(counts: np.ndarray) -> np.ndarray:
        found = []
        for row in counts:
            matches = float(row @ labels)
            found.append(measure(row) if 0 < matches < row.sum() else np.nan)
        return np.array(found)

    return statistic
