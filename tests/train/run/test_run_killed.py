"""A run that is killed at any moment goes on to the same weights, bit for bit."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from ultra_train.trainer import saving
from ultra_train.trainer.checkpoints import writing
from ultra_train.trainer.checkpoints.folders import list_checkpoints


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


@pytest.fixture
def killed_run(start, tmp_path):
    """A run that was killed outright, some updates after its first checkpoint."""
    run = start()
    folder = tmp_path / "runs" / "tiny"
    run.wait_for(lambda: list_checkpoints(folder / "checkpoints"))
    time.sleep(0.15)
    os.kill(run.pid, signal.SIGKILL)
    assert run.ended() == -signal.SIGKILL
    return folder


def test_killed_outright(killed_run, run_tiny, finished_run):
    assert not (killed_run / "model").exists()
    assert run_tiny(killed_run.parent, resume=True) == killed_run
    assert weights(killed_run) == weights(finished_run)
    steps = [int(s) for s in re.findall(r'"step": (\d+), "loss"', (killed_run / "metrics.jsonl").read_text())]
    assert steps == list(range(1, 13))


def test_control_c_saves_a_checkpoint_and_says_how_to_go_on(start, tmp_path, run_tiny, finished_run):
    run = start()
    folder = tmp_path / "runs" / "tiny"
    run.wait_for(lambda: '"loss"' in _text(folder / "metrics.jsonl"))
    os.kill(run.pid, signal.SIGINT)
    assert run.ended() == 130, run.text
    assert re.search(
        r"stopped after update \d+ of 12.*Resume with: ultra-train run .* --resume", run.text, re.DOTALL
    )
    assert "Traceback" not in run.text
    (checkpoint, *_) = list_checkpoints(folder / "checkpoints")
    assert checkpoint.step not in (4, 8, 12) or checkpoint.damage() is None
    run_tiny(folder.parent, resume=True)
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
