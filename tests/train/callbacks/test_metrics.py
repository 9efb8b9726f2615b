from __future__ import annotations

import csv
import json
import math

from ultra_train.callbacks.metrics import MetricsFile, Table


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_lines_survive_a_half_written_one_and_forget_what_is_computed_again(tmp_path):
    file = MetricsFile(tmp_path / "m.jsonl")
    for step in (1, 2, 3):
        file.write({"step": step, "loss": math.nan if step == 1 else 0.5})
    with file.path.open("a") as handle:
        handle.write('{"step": 4, "lo')
    assert [r["step"] for r in file.read()] == [1, 2, 3]
    assert file.read()[0]["loss"] == "nan"
    file.forget_after(2)
    file.write({"step": 3, "loss": 0.25})
    assert [json.loads(line)["step"] for line in file.path.read_text().splitlines()] == [1, 2, 3]


def test_a_table_starts_anew_when_its_columns_change(tmp_path):
    table = Table(tmp_path / "t.csv")
    table.write({"step": 1, "loss": 2.0})
    table.write({"loss": 1.0, "step": 2})
    table.write({"step": 3, "loss": 1.0, "gpu_celsius": 60})
    assert rows(tmp_path / "t.1.csv") == [{"step": "1", "loss": "2.0"}, {"step": "2", "loss": "1.0"}]
    assert rows(tmp_path / "t.csv") == [{"step": "3", "loss": "1.0", "gpu_celsius": "60"}]


def test_or_goes_on_with_the_old_columns(tmp_path):
    table = Table(tmp_path / "t.csv", rotate=False)
    table.write({"step": 1, "loss": 2.0})
    table.write({"step": 2, "other": 5})
    assert rows(tmp_path / "t.csv") == [{"step": "1", "loss": "2.0"}, {"step": "2", "loss": ""}]
    table.forget_after(1)
    assert len(rows(tmp_path / "t.csv")) == 1
