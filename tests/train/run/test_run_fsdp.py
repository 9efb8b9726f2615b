"""Runs whose processes share the parameters: the numbers and the checkpoints of one process."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from train.run.test_run_ranks import assert_same_run, sets
from transformers import AutoModelForMaskedLM

from support.ranks import on_ranks
from ultra_train.tasks.mlm.evaluation import MLMTrainer
from ultra_train.tasks.mlm.training import MLMRun
from ultra_train.trainer.checkpoints.folders import list_checkpoints

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

SCHEDULE_FREE = (
    "training.optimizer={optimizer_class: schedulefree_adamw, parameters: {}}",
    "training.scheduler_type=constant",
)
LOOPED = ("model.num_loops=2", "model.use_moe=true", "training.activation_checkpointing=true")
ONE = ("model.dropout=0", "training.gradient_accumulation_steps=4")
TWO = ("model.dropout=0", "training.gradient_accumulation_steps=2", "training.distributed=fsdp")


@pytest.fixture(autouse=True)
def _precise(monkeypatch):
    """Weights in fp64, so that the order of sums does not matter."""

    build = MLMRun.build_model
    monkeypatch.setattr(MLMRun, "build_model", lambda self: build(self).double())


def at_update(folder: Path, step: int, to: Path) -> Path:
    """Copy a run as it was after an update."""
    shutil.copytree(folder, to)
    for checkpoint in list_checkpoints(to / "checkpoints"):
        if checkpoint.step > step:
            shutil.rmtree(checkpoint.path)
    return to


def test_two_processes_are_one_and_one_resumes_them(start_ranks, run_tiny, tmp_path):
    """Muon, layers that are used twice, experts, a tied decoder; both processes are killed on the way."""
    alone = run_tiny(tmp_path / "alone", *ONE, *LOOPED)
    folder = tmp_path / "runs" / "tiny"
    ranks = start_ranks(*sets(TWO), *sets(LOOPED))
    ranks[0].wait_for(lambda: list_checkpoints(folder / "checkpoints"))
    for rank in ranks:
        os.kill(rank.pid, signal.SIGKILL)
        rank.ended()
    assert "processes: fsdp (gloo) over 2 processes on 1 host" in ranks[0].text
    run_tiny(folder.parent, *ONE, *LOOPED, resume=True)
    assert_same_run(folder, alone)


def test_two_processes_resume_a_run_of_one(run_tiny, tmp_path):
    """A method with two sets of weights; the saved model is that of one process."""
    alone = run_tiny(tmp_path / "alone", *ONE, *SCHEDULE_FREE)
    folder = at_update(alone, 4, tmp_path / "runs" / "tiny")
    on_ranks(2, lambda: run_tiny(folder.parent, *TWO, *SCHEDULE_FREE, resume=True), group=False)
    assert_same_run(folder, alone)
    one, two = (load_file(f / "model" / "model.safetensors") for f in (alone, folder))
    assert {name: t.shape for name, t in one.items()} == {name: t.shape for name, t in two.items()}
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-9
    configs = [json.loads((f / "model" / "config.json").read_text()) for f in (alone, folder)]
    assert configs[0] == configs[1]
    AutoModelForMaskedLM.from_pretrained(folder / "model")


def test_updates_that_one_process_spoils_are_dropped_by_all(run_tiny, tmp_path, monkeypatch, capfd):
    """Then all go back to the last checkpoint, and leave out the micro-batches."""
    loss = MLMTrainer.compute_loss

    def spoilt(self, model, inputs, **kwargs):
        found = loss(self, model, inputs, **kwargs)
        bad = self.state.global_step == 5 and self.here.rank == 1 and not self.settings.rollbacks.count
        return found * torch.nan if bad else found

    monkeypatch.setattr(MLMTrainer, "compute_loss", spoilt)
    folder = on_ranks(2, lambda: run_tiny(tmp_path, *TWO, "training.max_steps=6"), group=False)[0]
    said = capfd.readouterr().out
    assert said.count("update 6 was dropped: the loss is nan; first in the gradient of ") == 3
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (rollback,) = [line for line in lines if line.get("event") == "rollback"]
    assert (rollback["to_step"], len(rollback["left_out"])) == (4, 12)
    steps = [line["step"] for line in lines if "loss" in line and "event" not in line]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert list_checkpoints(folder / "checkpoints")[0].damage() is None
