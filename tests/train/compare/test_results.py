"""The metrics of a run over updates, tokens and hours."""

import json

import pytest

from ultra_train.compare.folder import ComparisonFolder
from ultra_train.compare.plan import Trial
from ultra_train.compare.results import read_result

RECORDS = [
    {"step": 0, "event": "data", "documents": 5},
    {"step": 2, "loss": 6.0, "tokens_seen": 100, "tokens_per_second": 50.0},
    {"step": 3, "eval_loss": 5.5},
    {"step": 4, "loss": "nan", "tokens_seen": 300, "tokens_per_second": 200.0},
    {"step": 4, "eval_loss": 5.0},
]


@pytest.fixture
def place(tmp_path):
    trial = Trial("a", "a", 1, 0.1, 1.0, None)
    folder = ComparisonFolder(tmp_path)
    folder.run(trial).mkdir(parents=True)
    folder.result(trial).parent.mkdir()
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
    (folder.run(trial) / "metrics.jsonl").write_text(lines + '{"step": 5, "lo')
    return trial, folder


def test_points_lie_at_their_updates_tokens_and_hours(place):
    result = read_result(*place)
    assert (result.status, result.finished) == ("missing", False)
    held_out = result.curve("eval_loss")
    assert [(p.step, p.tokens, p.values["eval_loss"]) for p in held_out] == [(3, 200.0, 5.5), (4, 300.0, 5.0)]
    assert held_out[1].hours == pytest.approx(3 / 3600)
    assert held_out[0].hours == pytest.approx(2.5 / 3600)
    assert len(result.curve("loss")) == 1  # what is not finite is no point


def test_the_record_says_how_it_ended(place):
    trial, folder = place
    facts = {"status": "finished", "tokens": 300, "seconds": 6.0, "peak_memory": None}
    folder.result(trial).write_text(json.dumps(facts))
    result = read_result(trial, folder)
    assert result.finished
    assert result.final("tokens_per_second") == 50.0
    assert result.final("peak_memory") is None
    folder.result(trial).write_text(json.dumps({"status": "failed", "reason": "killed\nand more"}))
    assert read_result(trial, folder).problem == "killed"
