"""Entities are right as a whole; expected values are counted by hand."""

import pytest

from ultra_train.tasks.token_classification.metrics import entity_metrics


def test_entities_count_as_a_whole():
    true = [["B-a", "I-a", "O", "B-b"], ["B-b", "O"]]
    found = [["B-a", "O", "O", "B-b"], ["B-b", "B-b"]]
    values = entity_metrics(true, found)  # 2 of 3 are found, 2 of 4 are right
    assert values["precision"] == pytest.approx(2 / 4)
    assert values["recall"] == pytest.approx(2 / 3)
    assert values["f1"] == pytest.approx(4 / 7)
    assert values["macro_f1"] == pytest.approx((0 + 4 / 5) / 2)
    assert values["accuracy"] == pytest.approx(4 / 6)
