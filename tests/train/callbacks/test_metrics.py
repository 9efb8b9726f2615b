from __future__ import annotations

import csv
import errno
import math

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ultra_train.callbacks.csv_table import CsvTable
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.callbacks.tensorboard_file import TensorBoardFile
from ultra_train.system import files
from ultra_train.system.owned_files import OwnedFiles


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def filled(path, steps=3):
    file = MetricsFile(path)
    for step in range(1, steps + 1):
        file.write({"step": step, "loss": math.nan if step == 1 else 0.5})
    return file


def test_a_half_written_line_is_passed_over_and_nothing_is_added_to_it(tmp_path):
    file = filled(tmp_path / "m.jsonl")
    with file.path.open("a") as handle:
        handle.write('{"step": 4, "lo')
    assert [r["step"] for r in file.read()] == [1, 2, 3]
    assert file.read()[0]["loss"] == "nan"
    file.write({"step": 4, "loss": 0.25})
    assert [r["step"] for r in file.read()] == [1, 2, 3, 4]


def test_it_becomes_what_it_was_at_a_checkpoint(tmp_path):
    file = filled(tmp_path / "m.jsonl", 2)
    before, state = file.path.read_bytes(), file.state()
    file.write({"step": 2, "eval_loss": 1.0})  # after the checkpoint, though of the same update
    file.write({"step": 3, "loss": 0.25})
    assert file.rewind(2, state) == (False, None)
    assert file.path.read_bytes() == before
    assert file.rewind(0, {}) == (False, None)
    assert file.path.read_bytes() == b""


def test_without_a_record_of_it_the_lines_of_later_updates_go(tmp_path):
    file = filled(tmp_path / "m.jsonl")
    assert file.rewind(2, {}) == (False, None)
    assert [r["step"] for r in file.read()] == [1, 2]


@pytest.mark.parametrize(
    "damage",
    [b"\xff\xfe\n", b"[1]\n", b"5\n", b'{"step": "x"}\n', b'{"step": -1}\n', b"{" * 9_000 + b"\n", b"?\n"],
)
def test_damaged_lines_are_set_aside(tmp_path, damage):
    file = filled(tmp_path / "m.jsonl")
    state = file.state()
    content = damage + file.path.read_bytes()
    file.path.write_bytes(content)
    for _ in (state, {}):
        assert [r["step"] for r in file.read()] == [1, 2, 3]
    damaged, aside = file.rewind(2, state)
    assert damaged
    assert aside.name == "m-damaged.1.jsonl"
    assert aside.read_bytes() == content
    assert [r["step"] for r in file.read()] == [1, 2]


def test_a_file_that_is_gone_starts_anew(tmp_path):
    file = filled(tmp_path / "m.jsonl")
    state = file.state()
    file.path.unlink()
    assert file.rewind(3, state) == (True, None)  # its lines are lost
    assert file.read() == []


def test_a_table_starts_anew_when_columns_are_added(tmp_path):
    table = CsvTable(tmp_path / "t.csv")
    table.write({"step": 1, "loss": 2.0})
    table.write({"loss": 1.0, "step": 2})
    table.write({"step": 3, "loss": 1.0, "gpu_celsius": 60})
    table.write({"step": 4, "loss": 0.5})
    assert rows(tmp_path / "t.1.csv") == [{"step": "1", "loss": "2.0"}, {"step": "2", "loss": "1.0"}]
    last = [
        {"step": "3", "loss": "1.0", "gpu_celsius": "60"},
        {"step": "4", "loss": "0.5", "gpu_celsius": ""},
    ]
    assert rows(tmp_path / "t.csv") == last


def test_or_goes_on_with_the_old_columns(tmp_path):
    table = CsvTable(tmp_path / "t.csv", rotate=False)
    table.write({"step": 1, "loss": 2.0})
    table.write({"step": 2, "other": 5})
    assert rows(tmp_path / "t.csv") == [{"step": "1", "loss": "2.0"}, {"step": "2", "loss": ""}]


@pytest.mark.parametrize("rotate", [True, False])
@pytest.mark.parametrize("kept", [0, 1, 2, 3, 5])
def test_rewriting_gives_the_table_of_a_run_that_never_stopped(tmp_path, rotate, kept):
    records = [{"step": n, "loss": 1 / n, **{f"new{n}": n for _ in range(n % 2)}} for n in range(1, 6)]

    def tables(folder):
        return {p.name: p.read_bytes() for p in folder.glob("*.csv")}

    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
        table = CsvTable.of_run(tmp_path / name / "metrics.csv", OwnedFiles(tmp_path / name), rotate=rotate)
        for record in records:
            table.write(record)
    (tmp_path / "cut" / "metrics.9.csv").write_text("mine")
    again = CsvTable.of_run(tmp_path / "cut" / "metrics.csv", OwnedFiles(tmp_path / "cut"), rotate=rotate)
    again.rewrite(records[:kept])
    for record in records[kept:]:
        again.write(record)
    assert (tmp_path / "cut" / "metrics.9.csv").read_text() == "mine"
    (tmp_path / "cut" / "metrics.9.csv").unlink()
    assert tables(tmp_path / "cut") == tables(tmp_path / "whole")


def test_the_table_of_another_run_is_left_alone(tmp_path):
    asked = tmp_path / "logs" / "steps.csv"
    first, second = tmp_path / "first", tmp_path / "second"
    for run in (first, second):
        run.mkdir()
        CsvTable.of_run(asked, OwnedFiles(run)).write({"step": 1, "run": run.name})
    assert rows(asked) == [{"step": "1", "run": "first"}]
    assert rows(asked.with_name("steps.2.csv")) == [{"step": "1", "run": "second"}]
    assert CsvTable.of_run(asked, OwnedFiles(second)).path == asked.with_name("steps.2.csv")
    assert CsvTable.of_run(asked, OwnedFiles(first)).path == asked


@pytest.mark.parametrize(
    "path", ["/etc/hostname", "elsewhere/steps.csv", "notes.txt", "steps.csv.bak", 5, "a\0b"]
)
def test_a_record_never_leads_to_a_file_of_others(tmp_path, path):
    asked, made = tmp_path / "steps.csv", OwnedFiles(tmp_path / "run")
    made.path.parent.mkdir()
    path = path if not isinstance(path, str) or path.startswith("/") else str(tmp_path / path)
    made.put("table", {"asked": str(asked), "path": path, "before": [path]})
    assert CsvTable.of_run(asked, made).path == asked
    made.put("table", {"asked": str(asked), "path": str(asked), "before": [path, 7]})
    assert CsvTable.of_run(asked, made)._before() == []


def test_lines_that_find_the_disk_full_are_written_later(tmp_path, monkeypatch):
    file = filled(tmp_path / "m.jsonl", 1)
    before, real = file.path.read_bytes(), files.append
    monkeypatch.setattr(
        files, "append", lambda path, content: (_ for _ in ()).throw(OSError(errno.ENOSPC, ""))
    )
    file.write({"step": 2, "loss": 0.5})
    assert file.path.read_bytes() == before
    assert [r["step"] for r in file.read()] == [1, 2]  # it counts as written, for checkpoints too
    state = file.state()
    with pytest.raises(OSError, match="28"):
        file.flush()
    monkeypatch.setattr(files, "append", real)
    file.write({"step": 3, "loss": 0.5})
    assert [r["step"] for r in MetricsFile(file.path).read()] == [1, 2, 3]
    assert file.rewind(2, state) == (False, None)
    assert [r["step"] for r in file.read()] == [1, 2]


def test_tensorboard_reads_what_is_written_and_hides_what_a_resumed_run_writes_again(tmp_path):
    first = TensorBoardFile(tmp_path)
    for step in (1, 2, 3):
        first.write(step, {"train/loss": float(step)})
    resumed = TensorBoardFile(tmp_path, resumed_at=2)
    resumed.write(3, {"train/loss": 30.0, "eval/accuracy": 0.5})
    read = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in read.Scalars("train/loss")] == [(1, 1), (2, 2), (3, 30)]
    assert [e.value for e in read.Scalars("eval/accuracy")] == [0.5]
