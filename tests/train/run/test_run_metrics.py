"""The lines of a run that went on are those of one that never stopped."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import pytest

from ultra_train.system.signals import Interrupted
from ultra_train.trainer.checkpoints.folders import Checkpoint, list_checkpoints
from ultra_train.trainer.update_callback import UpdateCallback

CLOCK = ("_per_second", "_runtime", "_hours", "_share", "memory_gb")


class Killed(BaseException):
    """Passes every handler, as a kill does."""


def lines(folder: Path) -> list[dict]:
    """Return the lines without what clock and system measured, in their order and with that of their keys."""
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in r.items() if not k.endswith(CLOCK)} for r in records]


def tables(folder: Path) -> dict[str, list[dict]]:
    found = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="") as file:
            found[path.name] = [
                {k: v for k, v in row.items() if not k.endswith(CLOCK)} for row in csv.DictReader(file)
            ]
    return found


@pytest.fixture
def stop_at(monkeypatch):
    """Do something when an update has ended, before it is logged."""
    original = UpdateCallback.on_step_end

    def arrange(step, action):
        def on_step_end(self, args, state, control, **kwargs):
            original(self, args, state, control, **kwargs)
            if state.global_step == step:
                monkeypatch.undo()
                action()

        monkeypatch.setattr(UpdateCallback, "on_step_end", on_step_end)

    return arrange


def kill():
    raise Killed


WINDOWS = [
    ("training.telemetry_log_interval=1", "training.gradient_log_interval=1"),
    ("training.telemetry_log_interval=3",),
    ("training.telemetry_log_interval=5", "training.gradient_log_interval=2"),
    (
        "training.telemetry_log_interval=7",
        "training.eval_every_n_steps=3",
        "training.gradient_log_interval=3",
    ),
]


@pytest.mark.parametrize("overrides", WINDOWS, ids=["1", "3", "5", "7"])
def test_killed_twice(run_tiny, tmp_path, stop_at, overrides):
    whole = run_tiny(tmp_path / "whole", *overrides)
    for step, resume in ((7, False), (11, True)):
        stop_at(step, kill)
        with pytest.raises(Killed):
            run_tiny(tmp_path / "cut", *overrides, resume=resume)
    folder = run_tiny(tmp_path / "cut", *overrides, resume=True)
    assert lines(folder) == lines(whole)
    assert tables(folder) == tables(whole)
    assert [list(line) for line in lines(folder)] == [list(line) for line in lines(whole)]
    assert any("eval_loss" in line for line in lines(whole))


def test_killed_once_the_last_checkpoint_is_written(run_tiny, finished_run, tmp_path, monkeypatch):
    """The evaluation of the last update is neither doubled nor lost."""
    from ultra_train.tasks.mlm.training import MLMRun

    with monkeypatch.context() as patch:
        patch.setattr(MLMRun, "save", lambda *args: kill())
        with pytest.raises(Killed):
            run_tiny(tmp_path)
    folder = run_tiny(tmp_path, resume=True)
    assert lines(folder) == lines(finished_run)
    assert "accuracy" in (folder / "model" / "README.md").read_text()


def test_a_finished_run_is_evaluated_once(run_tiny, tmp_path):
    """Also where its last evaluation is later than its last checkpoint."""
    overrides = ("training.eval_every_n_steps=5", "training.max_rolling_checkpoints=9")
    folder = run_tiny(tmp_path, *overrides)
    before = lines(folder)
    assert [line["step"] for line in before if "eval_loss" in line] == [5, 10, 12]
    run_tiny(tmp_path, *overrides, resume=True)
    assert lines(folder) == before


@pytest.mark.parametrize("step", [4, 8, 12])
def test_stopped_by_a_signal(run_tiny, finished_run, tmp_path, stop_at, capsys, step):
    """Also at an update whose evaluation was due: it is left to the run that goes on."""
    stop_at(step, lambda: os.kill(os.getpid(), signal.SIGTERM))
    if step == 12:
        assert run_tiny(tmp_path) == tmp_path / "tiny"  # there was nothing left to stop
    else:
        with pytest.raises(Interrupted) as stopped:
            run_tiny(tmp_path)
        assert stopped.value.number == signal.SIGTERM
        said = capsys.readouterr().out.splitlines()
        assert len({*said}) == len(said)
        assert ["interrupted" in line for line in said] == [False] * (len(said) - 1) + [True]
        assert (
            f"interrupted by SIGTERM: stopped after update {step} of 12, and a checkpoint is saved."
            in said[-1]
        )
        assert list_checkpoints(tmp_path / "tiny" / "checkpoints")[0].step == step
    folder = run_tiny(tmp_path, resume=True)
    assert lines(folder) == lines(finished_run)
    assert tables(folder) == tables(finished_run)
    weights = [(f / "model" / "model.safetensors").read_bytes() for f in (folder, finished_run)]
    assert weights[0] == weights[1]
    for checkpoint in list_checkpoints(finished_run / "checkpoints"):
        here = Checkpoint(folder / "checkpoints" / checkpoint.path.name, checkpoint.step)
        assert here.damage() is None
        assert here.manifest["metrics"]["eval_loss"] == checkpoint.manifest["metrics"]["eval_loss"]
