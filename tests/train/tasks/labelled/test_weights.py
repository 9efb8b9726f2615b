"""Class weights: torch's weighted cross entropy is the oracle, and gradients are compared too."""

from collections import Counter

import pytest
import torch
import torch.nn.functional as F

from ultra_core.errors import UltraError
from ultra_train.tasks.labelled.weights import IGNORED, class_weights, weighted_difference

COUNTS = Counter(a=6, b=3, c=1)


def test_balanced_labels_count_alike_and_their_mean_is_one():
    weights = class_weights("balanced", "abc", COUNTS, "key")
    totals = [float(w) * COUNTS[name] for w, name in zip(weights, "abc", strict=True)]
    assert totals == pytest.approx([10 / 3] * 3)
    assert float(class_weights({"b": 5.0}, "abc", COUNTS, "key")[0]) == pytest.approx(10 / 22)
    with pytest.raises(UltraError, match="key: the data have no label 'd'"):
        class_weights({"d": 2.0}, "abc", COUNTS, "key")


def test_the_loss_with_them_is_that_of_torch():
    torch.manual_seed(0)
    logits = torch.randn(2, 7, 3, dtype=torch.float32, requires_grad=True)
    labels = torch.randint(0, 3, (2, 7))
    labels[0, 4:] = IGNORED
    weights = torch.tensor([0.5, 1.0, 3.0])
    flat = logits.flatten(0, 1), labels.flatten()
    ours = F.cross_entropy(*flat) + weighted_difference(logits, labels, weights)
    torchs = F.cross_entropy(*flat, weight=weights, reduction="sum") / (labels != IGNORED).sum()
    torch.testing.assert_close(ours, torchs)
    (one,), (other,) = (torch.autograd.grad(loss, logits, retain_graph=True) for loss in (ours, torchs))
    torch.testing.assert_close(one, other)
