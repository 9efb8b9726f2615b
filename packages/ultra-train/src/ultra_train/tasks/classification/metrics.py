"""Metrics of classification, computed by scikit-learn and scipy."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, matthews_corrcoef

Labels = NDArray[Any]


def confusion(true: Sequence[int] | Labels, found: Sequence[int] | Labels, names: Sequence[str]) -> Any:
    """Return the event with the confusion matrix: a row for every true label, a column for every guess."""
    matrix = confusion_matrix(true, found, labels=range(len(names)))
    return {"event": "confusion", "labels": list(names), "matrix": matrix.tolist()}


def single_label(logits: Labels, true: Labels) -> dict[str, float]:
    """Return accuracy, macro-F1 and Matthews' correlation.

    Macro-F1 is the mean over the labels that a row has or is given.

    Args:
        logits: ``(N, K)``.
        true: ``(N,)`` class indices.
    """
    found = logits.argmax(-1)
    return {
        "accuracy": float(accuracy_score(true, found)),
        "macro_f1": float(f1_score(true, found, average="macro", zero_division=0)),
        "mcc": float(matthews_corrcoef(true, found)),
    }


def multi_label(logits: Labels, true: Labels) -> dict[str, float]:
    """Return the share of rows with exactly the right labels, macro-F1 and micro-F1.

    A row has the labels whose probability is above one half.

    Args:
        logits: ``(N, K)``.
        true: ``(N, K)`` zeros and ones.
    """
    true, found = true.astype(int), (logits > 0).astype(int)
    return {
        "accuracy": float(accuracy_score(true, found)),
        "macro_f1": float(f1_score(true, found, average="macro", zero_division=0)),
        "micro_f1": float(f1_score(true, found, average="micro", zero_division=0)),
    }


def regression(logits: Labels, true: Labels) -> dict[str, float]:
    """Return the mean squared error and the correlations; one that is not defined is left out.

    Args:
        logits: ``(N, 1)``.
        true: ``(N,)`` numbers.
    """
    found = logits[:, 0].astype(np.float64)
    values = {"mse": float(((found - true) ** 2).mean())}
    if len(true) > 1:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "An input array is constant")
            correlations = {
                "pearson": float(pearsonr(found, true).statistic),
                "spearman": float(spearmanr(found, true).statistic),
            }
        values |= {name: value for name, value in correlations.items() if np.isfinite(value)}
    return values
