"""Building the trainer of a run from the keys of its preset."""

import math
from types import SimpleNamespace

import pytest

from ultra_train.config.training import TrainingConfig
from ultra_train.run.trainer_setup import _guard
from ultra_train.tasks.mlm.training import MLMRun
from ultra_train.tasks.sbert.training import SbertRun


@pytest.mark.parametrize(
    ("run", "given", "expected"),
    [(MLMRun, None, 100.0), (SbertRun, None, math.inf), (SbertRun, 7.0, 7.0), (MLMRun, 7.0, 7.0)],
)
def test_gradients_are_as_large_as_the_task_allows_unless_the_preset_says(run, given, expected):
    training = TrainingConfig(task="any", dataset=(), inf_post_clip_threshold=given)
    task = SimpleNamespace(training=training, largest_gradient_norm=run.largest_gradient_norm)
    assert _guard(task).threshold == expected
