"""Runs of several processes: the same numbers as one process, and one end for all of them."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from support.ranks import free_port, on_ranks
from ultra_core.errors import UltraError
from ultra_train.system import peers
from ultra_train.system.processes import processes
from ultra_train.tasks.mlm.training import MLMRun
from ultra_train.trainer import data_parallel
from ultra_train.trainer.checkpoints.folders import list_checkpoints
from ultra_train.trainer.update_callback import UpdateCallback

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

ONE = ("model.dropout=0", "training.gradient_accumulation_steps=4")
TWO = ("model.dropout=0", "training.gradient_accumulation_steps=2")


def sets(overrides):
    return [part for override in overrides for part in ("--set", override)]


@pytest.fixture(autouse=True)
def _precise(monkeypatch):
    """Weights in fp64, so that the order of sums does not matter; Muon's small matrices are divided."""
    monkeypatch.setattr(data_parallel, "LEAST", 1)
    build = MLMRun.build_model
    monkeypatch.setattr(MLMRun, "build_model", lambda self: build(self).double())


@pytest.fixture(scope="module")
def alone(run_tiny, tmp_path_factory):
    """A run of one process, uninterrupted."""
    with pytest.MonkeyPatch.context() as patch:
        build = MLMRun.build_model
        patch.setattr(MLMRun, "build_model", lambda self: build(self).double())
        patch.setattr("gc.collect", lambda *args: 0)
        return run_tiny(tmp_path_factory.mktemp("alone"), *ONE)


def lines(folder: Path) -> list[dict]:
    """The lines of the log, without what depends on the clock."""
    clock = (
        "tokens_per_second",
        "data_wait_share",
        "eval_runtime",
        "eval_samples_per_second",
        "eval_steps_per_second",
        "training_hours",
        "memory_gb",
    )
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith(clock)} for line in found if "event" not in line]


def assert_same_run(folder: Path, other: Path) -> None:
    ours, theirs = lines(folder), lines(other)
    assert [line.keys() for line in ours] == [line.keys() for line in theirs]
    for line, there in zip(ours, theirs, strict=True):
        assert line == pytest.approx(there, rel=1e-9, abs=1e-12)
    for name in ("model.safetensors", "optimizer.safetensors"):
        one, two = (load_file(f / "checkpoints" / "checkpoint-12" / name) for f in (folder, other))
        assert max(float((one[k] - two[k]).abs().max()) for k in one if one[k].numel()) < 1e-9
    position, there = (
        json.loads((f / "checkpoints" / "checkpoint-12" / "progress.json").read_text())["position"]
        for f in (folder, other)
    )
    assert position == there


def text(folder: Path) -> str:
    path = folder / "metrics.jsonl"
    return path.read_text() if path.exists() else ""


def has_trained(folder: Path, updates: int = 2):
    return lambda: text(folder).count('"loss"') >= updates


def test_two_processes_are_one(alone, run_tiny, tmp_path, capfd):
    capfd.readouterr()
    folders = on_ranks(2, lambda: run_tiny(tmp_path, *TWO, "training.dataloader_workers=1"), group=False)
    said = capfd.readouterr().out
    assert folders[0] == folders[1]
    assert_same_run(folders[0], alone)
    (line,) = re.findall("^processes: .*", said, re.MULTILINE)
    assert line.startswith("processes: ddp (gloo) over 2 processes on 1 host; global batch of an update: ")
    assert line.endswith("2 processes x 2 micro-batches x 2 = 8 rows of the greatest length")
    assert said.count("held-out loss") == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_process_stops_all(start_ranks, run_tiny, alone, tmp_path, number):
    """One checkpoint, one line, and the exit code of the signal; one process can resume."""
    folder = tmp_path / "runs" / "tiny"
    ranks = start_ranks(*sets(TWO))
    ranks[0].wait_for(has_trained(folder, 5))
    os.kill(ranks[1 if number == signal.SIGTERM else 0].pid, number)
    if number == signal.SIGINT:
        os.kill(ranks[1].pid, number)
    assert [rank.ended() for rank in ranks] == [128 + number] * 2, ranks[0].text + ranks[1].text
    assert ranks[1].text == ""
    assert "Traceback" not in ranks[0].text
    (line,) = [line for line in ranks[0].text.splitlines() if "interrupted" in line]
    (newest, *_) = list_checkpoints(folder / "checkpoints")
    assert f"interrupted by {number.name}: stopped after update {newest.step} of 12" in line
    if number == signal.SIGTERM:
        run_tiny(folder.parent, *ONE, resume=True)
        assert_same_run(folder, alone)


def test_two_processes_resume_a_run_of_one(start, run_tiny, alone, tmp_path):
    folder = tmp_path / "runs" / "tiny"
    run = start(*sets(ONE))
    run.wait_for(lambda: list_checkpoints(folder / "checkpoints"))
    os.kill(run.pid, signal.SIGKILL)
    run.ended()
    on_ranks(2, lambda: run_tiny(folder.parent, *TWO, resume=True), group=False)
    assert_same_run(folder, alone)
    notices = [line for line in text(folder).splitlines() if "notice" in line]
    assert len([line for line in notices if "random numbers (dropout) are drawn anew" in line]) == 1
    assert not [line for line in notices if "micro-batches" in line]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_ends_the_others(start_ranks, run_tiny, alone, tmp_path, victim):
    folder = tmp_path / "runs" / "tiny"
    ranks = start_ranks(*sets(TWO))
    ranks[0].wait_for(lambda: list_checkpoints(folder / "checkpoints"))
    os.kill(ranks[victim].pid, signal.SIGKILL)
    assert ranks[1 - victim].ended() == 2, ranks[0].text + ranks[1].text
    said = ranks[1 - victim].text
    assert "Traceback" not in said
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert error.startswith(f"error: process {victim} ended without a word, as when the system kills it")
    if victim == 0:
        on_ranks(2, lambda: run_tiny(folder.parent, *TWO, resume=True), group=False)
        assert_same_run(folder, alone)


BROKEN = UltraError("the plugin is broken")


@pytest.mark.parametrize(
    ("failing", "error", "said"),
    [
        ((0, 1), BROKEN, "the plugin is broken"),
        ((0,), BROKEN, "the plugin is broken"),
        ((1,), BROKEN, "process 1 stopped: the plugin is broken"),
        ((1,), RuntimeError("a bug"), "process 1 stopped: RuntimeError('a bug')"),
    ],
)
def test_an_error_of_one_process_is_printed_once(start_ranks, tmp_path, monkeypatch, failing, error, said):
    ended = UpdateCallback.on_step_end

    def fail(self, args, state, control, **kwargs):
        ended(self, args, state, control, **kwargs)
        if state.global_step == 5 and processes().rank in failing:
            raise error

    monkeypatch.setattr(UpdateCallback, "on_step_end", fail)
    ranks = start_ranks(*sets(TWO))
    bug = 2 if error is BROKEN else 99  # what the process ends with that has a traceback to print
    assert [rank.ended() for rank in ranks] == [2, bug]
    errors = [line for rank in ranks for line in rank.text.splitlines() if "error: " in line]
    assert errors == [f"error: {said}"]
    assert "Traceback" not in ranks[0].text
    (checkpoint,) = list_checkpoints(tmp_path / "runs" / "tiny" / "checkpoints")
    assert (checkpoint.step, checkpoint.damage()) == (4, None)


def test_a_process_that_cannot_be_interrupted_ends_after_the_grace_period(start_ranks, tmp_path, monkeypatch):
    """As one does that waits for a GPU."""
    monkeypatch.setattr(peers, "GRACE", 0.3)
    ended = UpdateCallback.on_step_end

    def hang(self, args, state, control, **kwargs):
        ended(self, args, state, control, **kwargs)
        if processes().main and state.global_step == 3:
            time.sleep(100)
        elif state.global_step == 3:
            os._exit(1)

    monkeypatch.setattr(UpdateCallback, "on_step_end", hang)
    ranks = start_ranks(*sets(TWO))
    assert [rank.ended() for rank in ranks] == [2, 1]
    assert ranks[0].text.splitlines()[-1].startswith("error: process 1 ended without a word")


def test_faults_before_the_run_are_printed_once(start_ranks, tmp_path):
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    (tmp_path / "runs" / "tiny" / "mine").touch()
    for arguments in (["--set", "training.batch_size=0"], ["--device", "cuda"], ["--name", "tiny"]):
        ranks = start_ranks(*arguments)
        assert [rank.ended() for rank in ranks] == [2, 2]
        errors = [re.findall("^(?:error|notice): ", rank.text, re.MULTILINE) for rank in ranks]
        assert (errors[0].count("error: "), errors[1]) == (1, []), ranks[0].text + ranks[1].text


def _host(arguments: list[str], port: int) -> None:
    """Do what ``torchrun --nnodes 2 -m ultra_train`` does, without importing torch again."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=2,
        max_nodes=2,
        nproc_per_node=1,
        rdzv_backend="c10d",
        rdzv_endpoint=f"127.0.0.1:{port}",
        local_addr="127.0.0.1",
        run_id="two-hosts",
        start_method="fork",
        monitor_interval=0.1,
    )
    elastic_launch(config, _process)(arguments)


def _process(arguments: list[str]) -> None:
    from ultra_train.cli.app import main

    if code := main(arguments):
        raise SystemExit(code)


def test_two_hosts_meet_by_rendezvous(alone, tiny_preset, tmp_path, capfd):
    arguments = ["run", str(tiny_preset), "--output-dir", str(tmp_path), "--device", "cpu", *sets(TWO)]
    on_ranks(2, _host, arguments, free_port(), group=False)
    assert "over 2 processes on 2 hosts;" in capfd.readouterr().out
    assert_same_run(tmp_path / "tiny", alone)
