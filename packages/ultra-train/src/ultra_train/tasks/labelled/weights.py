"""Class weights: how much the loss of a label counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ultra_core.errors import UltraError, did_you_mean

IGNORED = -100
"""The label of tokens that do not count."""


def class_weights(
    asked: str | Mapping[str, float] | None, labels: Sequence[str], counts: Counter[str], key: str
) -> Tensor | None:
    """Return a weight of each label, whose mean over the rows to train on is 1.

    Thus the size of the loss, and what a good learning rate is, stay as they are without weights.

    Args:
        asked: ``balanced`` (inversely proportional to how frequent a label is), or weights by label.
        labels: the labels.
        counts: how often each is there.
        key: the key of the preset, for the error message.

    Raises:
        UltraError: a weight is given for a label that does not exist.
    """
    if asked is None:
        return None
    if isinstance(asked, str):
        weights = [1 / counts[label] if counts[label] else 0.0 for label in labels]
    else:
        for name in asked:
            if name not in labels:
                raise UltraError(f"{key}: the data have no label {name!r}.{did_you_mean(name, list(labels))}")
        weights = [float(asked.get(label, 1.0)) for label in labels]
    total = sum(weight * counts[label] for weight, label in zip(weights, labels, strict=True))
    return torch.tensor(weights) * (sum(counts.values()) / total)


def weighted_difference(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return by how much the mean of the weighted cross entropies exceeds that of the plain ones.

    Added to the loss of a model, it weights the labels and leaves what else is in that loss, such as the
    balance of experts.

    Args:
        logits: ``(..., K)``.
        labels: ``(...)`` class indices, -100 where none counts.
        weights: ``(K,)``.
    """
    logits, labels = logits.float().flatten(0, -2), labels.flatten()
    counted = labels != IGNORED
    losses = F.cross_entropy(logits[counted], labels[counted], reduction="none")
    return ((weights.to(losses)[labels[counted]] - 1) * losses).sum() / counted.sum().clamp(min=1)
