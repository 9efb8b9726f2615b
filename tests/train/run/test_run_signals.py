"""Signals to a whole run: its process or its group, with workers that make batches and that tokenise."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ultra_train.trainer.checkpoints.folders import list_checkpoints

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system does not list children"),
]

WORKERS = ("--set", "training.dataloader_workers=2")


def has_trained(folder: Path) -> Callable[[], bool]:
    metrics = folder / "metrics.jsonl"
    return lambda: metrics.exists() and metrics.read_text().count('"loss"') >= 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["process", "group"])
def test_one_line_one_checkpoint_and_the_exit_code(start, run_tiny, finished_run, tmp_path, number, kill):
    folder = tmp_path / "runs" / "tiny"
    run = start(*WORKERS)
    run.wait_for(has_trained(folder))
    assert len(run.children) >= 2
    for _ in range(3):  # as wrappers do that pass it on
        kill(run.pid, number)
    assert run.ended() == 128 + number, run.text
    said = run.text.splitlines()
    assert "Traceback" not in run.text
    assert len({*said}) == len(said)
    name = signal.Signals(number).name
    (line,) = [line for line in said if "interrupted" in line or "Interrupted" in line or "Stopping" in line]
    assert line.startswith(f"interrupted by {name}: stopped after update ")
    assert line.endswith("--resume")
    steps = [c.step for c in list_checkpoints(folder / "checkpoints")]
    assert f"stopped after update {steps[0]} of 12" in line
    assert all(step % 4 == 0 for step in steps[1:])
    assert f"stopped: interrupted by {name}" in (folder / "report.html").read_text()
    if kill is os.killpg:
        run_tiny(tmp_path / "runs", "training.dataloader_workers=0", resume=True)
        weights = [(f / "model" / "model.safetensors").read_bytes() for f in (folder, finished_run)]
        assert weights[0] == weights[1]


def test_a_terminal_that_goes_away(start, tmp_path):
    """Nothing can be printed any more, and the checkpoint is saved all the same."""
    folder = tmp_path / "runs" / "tiny"
    run = start(*WORKERS, terminal=True)
    run.wait_for(lambda: os.read(run.terminal, 1000) and has_trained(folder)())
    os.close(run.terminal)
    assert run.ended() == 128 + signal.SIGHUP
    assert list_checkpoints(folder / "checkpoints")[0].damage() is None


@pytest.mark.parametrize("step", [3, 4])
def test_a_reader_that_ends_by_the_same_signal(start, tmp_path, step, monkeypatch):
    """Ctrl-C ends the ``tee`` of ``ultra-train run ... | tee log`` too; the checkpoint is saved still."""
    from ultra_train.trainer.update_callback import UpdateCallback

    reader, writer = os.pipe()
    ended = UpdateCallback.on_step_end

    def stop(self, args, state, control, **kwargs):
        ended(self, args, state, control, **kwargs)
        if state.global_step == step:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(UpdateCallback, "on_step_end", stop)
    folder = tmp_path / "runs" / "tiny"
    run = start(*WORKERS, pipe=writer)
    os.close(reader)
    os.close(writer)
    assert run.ended() == 130
    assert list_checkpoints(folder / "checkpoints")[0].step == step


def test_a_worker_that_the_system_kills(start, run_tiny, finished_run, tmp_path):
    folder = tmp_path / "runs" / "tiny"
    run = start(*WORKERS)
    run.wait_for(lambda: list_checkpoints(folder / "checkpoints") and run.children)
    os.kill(run.children[-1], signal.SIGKILL)
    assert run.ended() == 2, run.text
    assert "Traceback" not in run.text
    (error,) = [line for line in run.text.splitlines() if line.startswith("error: ")]
    assert "a process that makes batches ended" in error
    assert "memory ran out" in error
    assert "can be resumed from checkpoint-" in error
    run_tiny(tmp_path / "runs", resume=True)
    weights = [(f / "model" / "model.safetensors").read_bytes() for f in (folder, finished_run)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_while_texts_are_tokenised(start, tmp_path, monkeypatch, number):
    """Nothing is trained yet, so nothing is left of the run."""
    from ultra_train.data.token_cache.text_encoder import TextEncoder

    original = TextEncoder.__call__
    monkeypatch.setattr(
        TextEncoder, "__call__", lambda self, records: time.sleep(0.3) or original(self, records)
    )
    (tmp_path / "cache").mkdir()
    sets = (
        "training.num_workers=2",
        "training.dataset_batch_size=20",
        f"training.cache_dir={tmp_path / 'cache'}",
    )
    run = start(*(part for pair in sets for part in ("--set", pair)))
    run.wait_for(lambda: len(run.children) >= 2)
    os.killpg(run.pid, number)
    assert run.ended() == 128 + number, run.text
    assert "Traceback" not in run.text
    said = run.text.splitlines()
    assert [line for line in said if "nterrupt" in line] == said[-1:]
    assert f"interrupted by {signal.Signals(number).name} at once" in said[-1]
    assert not (tmp_path / "runs").exists()
    assert not list((tmp_path / "cache").glob("tokens-*"))


def test_a_second_signal_ends_it_at_once(start, tmp_path, monkeypatch):
    from ultra_train.callbacks.gpu import GpuCallback  # noqa: F401  imported before the fork
    from ultra_train.system import signals
    from ultra_train.trainer.update_callback import UpdateCallback

    monkeypatch.setattr(signals, "SAME_REQUEST", 0.0)
    monkeypatch.setattr(UpdateCallback, "on_optimizer_step", lambda *args, **kwargs: time.sleep(60))
    folder = tmp_path / "runs" / "tiny"
    run = start(*WORKERS)
    run.wait_for(lambda: (folder / "config.yaml").exists() and len(run.children) >= 2)
    time.sleep(0.5)
    run_began = time.monotonic()
    os.kill(run.pid, signal.SIGTERM)
    time.sleep(0.2)
    os.kill(run.pid, signal.SIGTERM)
    assert run.ended() == 128 + signal.SIGTERM
    assert time.monotonic() - run_began < 30
    assert "interrupted by SIGTERM at once" in run.text
    assert not list_checkpoints(folder / "checkpoints")
