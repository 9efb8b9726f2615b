from __future__ import annotations

from ultra_train.trainer.checkpoints.folders import list_checkpoints
from ultra_train.trainer.checkpoints.retention import RetentionPolicy, rotate_checkpoints


def test_rotation_keeps_the_newest_and_the_best(put, tmp_path):
    retention = RetentionPolicy(newest=2, best=2, metric="loss")
    for step, loss in enumerate([5.0, 1.0, float("nan"), 2.0, 3.0, 4.0, 1.0], start=1):
        assert retention.would_rank(loss, list_checkpoints(tmp_path)) == (step in (1, 2, 4, 7)), step
        put(tmp_path, step, loss=loss)
        rotate_checkpoints(tmp_path, retention)
    # the newest two, and the best two; of equal ones the newer
    assert [c.step for c in list_checkpoints(tmp_path)] == [7, 6, 2]


def test_greater_may_be_better(put, tmp_path):
    retention = RetentionPolicy(newest=1, best=1, metric="accuracy", greater_is_better=True)
    for step, accuracy in enumerate([0.1, 0.9, 0.5, 0.2], start=1):
        put(tmp_path, step, accuracy=accuracy)
    rotate_checkpoints(tmp_path, retention)
    assert [c.step for c in list_checkpoints(tmp_path)] == [4, 2]
