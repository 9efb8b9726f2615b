from __future__ import annotations

import pytest

from ultra_train.tasks.mlm.closing import compared_with_baseline


@pytest.mark.parametrize(
    ("accuracy", "baseline", "expected"),
    [
        (0.3, 0.1, ", the model 3.0 times as many"),
        (0.101, 0.1, "; the model is no better than that yet"),
        (0.05, 0.1, "; the model is worse than that, it has learned nothing of use yet"),
        (0.3, 0.0, ""),
        (0.0, 0.0, "; the model is no better than that yet"),
    ],
)
def test_what_chance_would_do_is_said_in_words(accuracy, baseline, expected):
    assert compared_with_baseline(accuracy, baseline) == expected
