from __future__ import annotations

from ultra_train.trainer.rollbacks import Rollbacks


def test_rollbacks_are_remembered(tmp_path):
    rollbacks = Rollbacks.read(tmp_path / "r.json")
    rollbacks.add([(1, 2), (1, 3)])
    rollbacks.write()
    again = Rollbacks.read(tmp_path / "r.json")
    assert (again.count, again.skipped) == (1, [(1, 2), (1, 3)])
