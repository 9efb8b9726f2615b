"""The card of right and wrong labels, from the event of the last evaluation."""

import json

from ultra_train.report.confusion import confusion_section
from ultra_train.report.run_record import read_run


def record(folder, *events):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), "utf-8")
    return read_run(folder)


def test_precision_recall_and_mistakes(tmp_path):
    before = {"event": "confusion", "step": 1, "labels": ["a", "<b>"], "matrix": [[0, 9], [9, 0]]}
    last = {"event": "confusion", "step": 2, "labels": ["a", "<b>"], "matrix": [[3, 1], [0, 4]]}
    page = confusion_section(record(tmp_path, before, last))
    assert "Of update 2" in page
    assert "<b>" not in page
    assert "<td>1.000</td><td>0.750</td><td>0.857</td><td>4</td>" in page
    assert "<td>0.800</td><td>1.000</td><td>0.889</td><td>4</td>" in page


def test_many_labels_have_no_matrix(tmp_path):
    labels = [f"label{n}" for n in range(41)]
    matrix = [[int(row == column) for column in range(41)] for row in range(41)]
    event = {"event": "confusion", "step": 1, "labels": labels, "matrix": matrix}
    assert confusion_section(record(tmp_path, event)).count("<table") == 1


def test_other_runs_have_none(tmp_path):
    assert confusion_section(record(tmp_path, {"event": "data", "step": 0})) == ""
