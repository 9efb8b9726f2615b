"""Metrics of classification against their formulas."""

import numpy as np
import pytest

from ultra_train.tasks.classification import metrics


def test_one_label_of_a_text():
    logits = np.eye(3)[[0, 0, 1, 1, 2]]
    true = np.array([0, 1, 1, 1, 1])
    values = metrics.single_label(logits, true)
    assert values["accuracy"] == pytest.approx(3 / 5)
    assert values["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert metrics.confusion(true, logits.argmax(-1), "abc")["matrix"] == [[1, 0, 0], [1, 2, 1], [0, 0, 0]]


def test_several_labels_of_a_text():
    logits, true = np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    values = metrics.multi_label(logits, true)
    assert values["accuracy"] == 0.5
    assert values["micro_f1"] == pytest.approx(4 / 5)


def test_numbers():
    values = metrics.regression(np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 2.0, 3.0]))
    assert values["mse"] == pytest.approx(1 / 3)
    assert values["spearman"] == pytest.approx(1.0)
    assert "pearson" not in metrics.regression(np.ones((2, 1)), np.array([1.0, 2.0]))
