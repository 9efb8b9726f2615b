"""Events of a run: all of them written down, those that matter printed."""

import pytest

from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.run.events import EventLog, format_event

DROPPED = {"event": "dropped_update", "step": 3, "reason": "the loss is nan", "module": None, "in_a_row": 2}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (DROPPED, "update 3 was dropped: the loss is nan (2 in a row)"),
        (
            {**DROPPED, "module": "head (Linear)"},
            "update 3 was dropped: the loss is nan; first in head (Linear) (2 in a row)",
        ),
        ({"event": "notice", "text": "slow"}, "notice: slow"),
        ({"event": "rollback", "to_step": 4, "reason": "why"}, "back to the checkpoint of step 4: why"),
        (
            {"event": "unknown_metric", "metric": "eval_beauty", "measured": ["eval_loss", "eval_x"]},
            "notice: no best checkpoint is kept, since training.best_metric eval_beauty is not measured; "
            "choose one of eval_loss, eval_x",
        ),
        ({"event": "data", "sources": []}, None),
    ],
)
def test_what_is_printed(tmp_path, event, line):
    assert format_event(event) == line
    said = []
    file = MetricsFile(tmp_path / "metrics.jsonl")
    EventLog(file, said.append)(event)
    assert said == ([line] if line else [])
    assert file.read() == [event]


def test_what_a_task_says_of_its_data_is_written_once(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for _ in range(2):
        EventLog(file, print).write_once([{"event": "data", "rows": 3}])
    assert file.read() == [{"step": 0, "event": "data", "rows": 3}]
