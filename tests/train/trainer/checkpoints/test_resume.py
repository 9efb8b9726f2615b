from __future__ import annotations

import json

import pytest

from ultra_train.trainer.checkpoints.folders import CheckpointError
from ultra_train.trainer.checkpoints.resume import read_progress, read_trainer_state

PROGRESS = {"position": [0, 3], "step": 4, "tokens_seen": 9, "dropped_updates": 0}


@pytest.mark.parametrize("seconds", ["x", None, [1], -1.0, 1e300])
def test_seconds_that_no_run_can_have_taken(tmp_path, seconds):
    (tmp_path / "progress.json").write_text(json.dumps({**PROGRESS, "training_seconds": seconds}))
    with pytest.raises(CheckpointError, match="training_seconds is not a number of seconds"):
        read_progress(tmp_path)
    (tmp_path / "progress.json").write_text(json.dumps({**PROGRESS, "training_seconds": 2.5}))
    assert read_progress(tmp_path)["training_seconds"] == 2.5


@pytest.mark.parametrize("name", ["logging_steps", "eval_steps", "save_steps"])
def test_intervals_of_no_updates(tmp_path, name):
    (tmp_path / "trainer_state.json").write_text(json.dumps({"global_step": 4, name: 0}))
    with pytest.raises(CheckpointError, match=f"{name} is not above 0"):
        read_trainer_state(tmp_path)
