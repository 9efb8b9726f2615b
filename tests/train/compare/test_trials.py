"""Trials that end badly: each in a process of its own, none trains here."""

import errno
import json
import os
import signal
import sys

import pytest

from ultra_train.compare.arms import build_arms
from ultra_train.compare.budget import Budget
from ultra_train.compare.folder import ComparisonFolder
from ultra_train.compare.learning_rates import Sweep
from ultra_train.compare.plan import build_plan
from ultra_train.compare.trials import Stopped, TrialRunner, failed_again
from ultra_train.system.signals import Signals

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="trials are replaced in forks")


class Silent:
    """Shows nothing."""

    def started(self, trial, number, count): ...

    def watch(self): ...

    def ended(self, trial, record): ...


@pytest.fixture
def run_trials(tiny_preset, tmp_path):
    """Run two trials that do nothing but what they are told, and return the records."""
    arms = build_arms([str(tiny_preset)], [], [])
    plan = build_plan(arms, budget=Budget("steps", 3), sweep=Sweep(), seeds=[1, 2], fixed=[])
    folder = ComparisonFolder(tmp_path / "comparison")
    folder.record(plan, "a command")

    def run():
        TrialRunner(folder, Signals(), Silent(), "cpu").run_all(plan, "a command")
        return [json.loads(folder.result(trial).read_text()) for trial in plan.trials]

    run.plan, run.folder = plan, folder
    return run


def raising(error):
    def train(order):
        raise error

    return train


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "out of memory: an allocation failed"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory: CUDA out of memory"),
        (ValueError("shapes"), "ValueError: shapes"),
    ],
)
def test_an_error_is_recorded_and_the_next_trial_runs(run_trials, monkeypatch, error, reason):
    monkeypatch.setattr("ultra_train.compare.trial._train", raising(error))
    records = run_trials()
    assert [record["status"] for record in records] == ["failed", "failed"]
    assert records[0]["reason"].startswith(reason)
    log = (run_trials.folder.path / "results" / "tiny-seed1.log").read_text()
    assert "Traceback" in log


def test_a_killed_process_is_recorded(run_trials, monkeypatch):
    monkeypatch.setattr(
        "ultra_train.compare.trial._train", lambda order: os.kill(os.getpid(), signal.SIGKILL)
    )
    said = []
    assert "ended by SIGKILL; the system does this when memory runs out" in run_trials()[1]["reason"]
    failed_again(run_trials.plan, run_trials.folder, said.append)
    assert said == ["tiny-seed1 failed and is tried again", "tiny-seed2 failed and is tried again"]
    assert not list((run_trials.folder.path / "results").glob("*.json"))


def test_a_full_disk_stops_all(run_trials, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("ultra_train.compare.trial._train", raising(full))
    with pytest.raises(Stopped, match=r"No space left.*0 of 2 runs are finished.*Continue with: a command"):
        run_trials()
    assert not list((run_trials.folder.path / "results").glob("*.json"))


def test_a_signal_to_a_trial_alone_stops_all(run_trials, monkeypatch):
    stop = KeyboardInterrupt()
    monkeypatch.setattr("ultra_train.compare.trial._train", raising(stop))
    with pytest.raises(KeyboardInterrupt, match="SIGINT: 0 of 2 runs"):
        run_trials()
