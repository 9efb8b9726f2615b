"""A run that is killed at any moment goes on to the same weights, bit for bit."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ultra_train.trainer import saving
from ultra_train.trainer.checkpoints import writing
from ultra_train.trainer.checkpoints.folders import list_checkpoints

SCRIPT = """
import sys, time
import torch
torch.set_num_threads(1)
from ultra_train.callbacks.progress import ProgressCallback
slow = lambda self, args, state, control, **kwargs: time.sleep(0.1)
ProgressCallback.on_step_end = slow
from ultra_train.cli import main
sys.exit(main(sys.argv[1:]))
"""


def start(preset: Path, runs: Path, *arguments: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, "run", str(preset), "--output-dir", str(runs), "--device", "cpu"]
    return subprocess.Popen(
        [*command, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(condition, process: subprocess.Popen) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


@pytest.fixture
def killed_run(tiny_preset, tmp_path):
    """A run that was killed outright, some updates after its first checkpoint."""
    process = start(tiny_preset, tmp_path)
    folder = tmp_path / "tiny"
    wait_for(lambda: list_checkpoints(folder / "checkpoints"), process)
    time.sleep(0.25)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return folder


def test_killed_outright(killed_run, run_tiny, finished_run):
    assert not (killed_run / "model").exists()
    assert run_tiny(killed_run.parent, resume=True) == killed_run
    assert weights(killed_run) == weights(finished_run)
    steps = [int(s) for s in re.findall(r'"step": (\d+), "loss"', (killed_run / "metrics.jsonl").read_text())]
    assert steps == list(range(1, 13))


def test_control_c_saves_a_checkpoint_and_says_how_to_go_on(tiny_preset, tmp_path, run_tiny, finished_run):
    process = start(tiny_preset, tmp_path)
    folder = tmp_path / "tiny"
    wait_for(lambda: '"loss"' in _text(folder / "metrics.jsonl"), process)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 130, output
    assert re.search(r"stopped after update \d+ of 12.*Go on with: ultra-train run .* --resume", output)
    assert "Traceback" not in output
    (checkpoint, *_) = list_checkpoints(folder / "checkpoints")
    assert checkpoint.step not in (4, 8, 12) or checkpoint.damage() is None
    run_tiny(tmp_path, resume=True)
    assert weights(folder) == weights(finished_run)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("moment", ["manifest", "rename", "rotate", "before any"])
def test_killed_while_a_checkpoint_is_written(moment, run_tiny, finished_run, tmp_path, monkeypatch):
    """Nothing half-written is used, whatever was written when the process ended."""

    class Killed(BaseException):
        """Passes every handler, as a kill does."""

    def kill(*args, **kwargs):
        raise Killed

    original = saving.write_checkpoint

    def write(root, step, fill, facts):
        if step == (4 if moment == "before any" else 8):
            if moment == "rotate":
                original(root, step, fill, facts)
                raise Killed
            monkeypatch.setattr(
                *((Path, "rename", kill) if moment == "rename" else (writing, "checksum", kill))
            )
        return original(root, step, fill, facts)

    with monkeypatch.context() as patch:
        patch.setattr(saving, "write_checkpoint", write)
        with pytest.raises(Killed):
            run_tiny(tmp_path)
    monkeypatch.undo()
    folder = run_tiny(tmp_path, resume=True)
    assert weights(folder) == weights(finished_run)
    assert not list((folder / "checkpoints").glob(".*"))


def test_a_damaged_newest_checkpoint_is_passed_over(run_tiny, finished_run, tmp_path, capsys):
    folder = run_tiny(tmp_path)
    newest = folder / "checkpoints" / "checkpoint-12"
    data = bytearray((newest / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (newest / "model.safetensors").write_bytes(data)
    run_tiny(tmp_path, resume=True)
    output = capsys.readouterr().out.replace("\n", "")
    assert "checkpoint-12 is damaged and not used: model.safetensors is not what was written" in output
    assert "resuming after update 8" in output
    assert weights(folder) == weights(finished_run)
