"""run, train and ultra_train.main are one and the same."""

import sys
import types
from pathlib import Path

import pytest

import ultra_train
from ultra_core.errors import UltraError


@pytest.fixture
def executed(monkeypatch):
    """What was handed to ``ultra_train.run.execution.execute``."""
    calls = []

    def execute(preset, **options):
        calls.append((preset, options))
        return Path("runs/small")

    monkeypatch.setitem(sys.modules, "ultra_train.run.execution", types.SimpleNamespace(execute=execute))
    return calls


DEFAULTS = {"resume": False, "name": None, "output_dir": None, "device": None, "fit_memory": False}
GUARDS = [
    "--gpu-temp-guard",
    "--gpu-temp-pause-threshold-c",
    "88",
    "--gpu-temp-resume-threshold-c",
    "77.5",
    "--gpu-temp-critical-threshold-c",
    "95",
    "--gpu-temp-poll-interval-seconds",
    "30",
]


def test_run_and_train_are_the_same(ultra, preset, executed):
    options = ["--set", "training.seed=7", "--resume", "--name", "x", "--output-dir", "o", "--device", "cpu"]
    assert ultra("run", preset, *options, *GUARDS).exit_code == 0
    assert ultra("train", "--config", preset, *options, *GUARDS).exit_code == 0
    assert executed[0] == executed[1]
    loaded, arguments = executed[0]
    assert arguments == DEFAULTS | {"resume": True, "name": "x", "output_dir": Path("o"), "device": "cpu"}
    training = loaded.training
    assert training.seed == 7
    assert training.gpu_temp_guard_enabled is True
    assert training.gpu_temp_pause_threshold_c == 88
    assert training.gpu_temp_resume_threshold_c == 77.5
    assert training.gpu_temp_critical_threshold_c == 95


def test_flags_that_are_left_out_change_nothing(ultra, preset, executed):
    ultra("run", preset)
    loaded, arguments = executed[0]
    assert arguments == DEFAULTS
    assert loaded.training.gpu_temp_pause_threshold_c == 90
    ultra("run", preset, "--no-gpu-temp-guard")
    assert executed[1][0].training.gpu_temp_guard_enabled is False


def test_from_python(preset, executed):
    assert ultra_train.main(["--config", preset, "--device", "cpu", *GUARDS]) == Path("runs/small")
    assert ultra_train.main(["train", "--config", preset]) == Path("runs/small")
    assert len(executed) == 2


def test_from_python_errors_are_exceptions(preset, executed):
    with pytest.raises(UltraError, match="unknown key"):
        ultra_train.main(["--config", preset, "--set", "training.sead=1"])
    with pytest.raises(UltraError, match="--confg"):
        ultra_train.main(["--confg", preset])
    assert executed == []


def test_faults_stop_a_run_before_it_starts(ultra, preset, executed):
    result = ultra("run", preset, "--set", "training.batch_size=0", "--gpu-temp-pause-threshold-c", "50")
    assert result.exit_code == 2
    assert "training.batch_size" in result.stderr
    assert "gpu_temp_resume_threshold_c" in result.stderr
    assert executed == []


def test_an_option_that_would_do_nothing_is_refused(ultra, preset, executed):
    result = ultra("run", preset, "--allow-shorten")
    assert result.exit_code == 2
    assert "--allow-shorten does nothing without --fit-memory" in result.stderr
    assert executed == []


def test_notices_go_to_stderr(ultra, preset, executed):
    result = ultra("run", preset, "--set", "model.ode_steps=3")
    assert result.exit_code == 0
    assert result.stderr == "notice: no effect in this run: model.ode_steps\n"
