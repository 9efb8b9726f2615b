"""No checkpoint holds a number that is not finite, and one that is found is passed over."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from ultra_train.system.checksums import checksum
from ultra_train.trainer.checkpoints.content import not_finite
from ultra_train.trainer.checkpoints.folders import list_checkpoints, newest_intact
from ultra_train.trainer.checkpoints.resume import resume_damage
from ultra_train.trainer.guards import TrainingDiverged
from ultra_train.trainer.optimizers import unwrapped


def break_weight(trainer):
    with torch.no_grad():
        trainer.model.cls.predictions.bias[0] = float("nan")


def break_state(trainer):
    next(iter(unwrapped(trainer.optimizer).state.values()))["exp_avg_sq"].view(-1)[3] = float("inf")


class Break(TrainerCallback):
    """Spoils a trainer at some updates, as it does not need a bad gradient to be spoilt."""

    def __init__(self, trainer, spoil, steps, times):
        self.trainer, self.spoil, self.steps, self.times = trainer, spoil, steps, times

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in self.steps and self.times:
            self.times -= 1
            self.spoil(self.trainer)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [(break_weight, "weight cls.predictions.bias"), (break_state, "state of the optimizer 0.exp_avg_sq")],
)
def test_a_run_goes_back_instead_of_writing_them(make_trainer, spoil, named):
    trainer = make_trainer(scan_every=1000)
    trainer.add_callback(Break(trainer, spoil, {8}, 1))
    trainer.train()
    (event,) = trainer.events
    assert event["event"] == "rollback"
    assert event["reason"] == f"the {named} is not finite, so no checkpoint of it is written"
    assert event["to_step"] == 4
    assert [c.step for c in list_checkpoints(trainer.checkpoint_root)] == [12, 8, 4]
    assert all(c.damage() is None for c in list_checkpoints(trainer.checkpoint_root))


def test_the_second_time_it_stops(make_trainer):
    trainer = make_trainer(scan_every=1000)
    trainer.add_callback(Break(trainer, break_weight, {8}, 2))
    with pytest.raises(TrainingDiverged, match=r"bias is not finite.*had rolled back once already"):
        trainer.train()
    assert [c.step for c in list_checkpoints(trainer.checkpoint_root)] == [4]


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
def test_one_that_is_found_is_passed_over(make_trainer, file):
    make_trainer(max_steps=8).train()
    trainer = make_trainer()
    newest, older = list_checkpoints(trainer.checkpoint_root)
    tensors = load_file(newest.path / file)
    name = next(n for n, t in tensors.items() if t.is_floating_point() and t.numel() > 1)
    tensors[name].view(-1)[0] = float("nan")
    save_file(tensors, newest.path / file)
    manifest = newest.manifest
    manifest["files"][file]["sha256"] = checksum(newest.path / file)
    manifest["files"][file]["bytes"] = (newest.path / file).stat().st_size
    (newest.path / "manifest.json").write_text(json.dumps(manifest))
    said = []
    assert newest_intact(trainer.checkpoint_root, said.append, check=resume_damage) == older
    assert "checkpoint-8 is damaged and not used" in said[0]
    assert said[0].endswith(f"{name} in {file} is not finite")
    trainer.add_callback(Break(trainer, break_weight, {6}, 1))
    trainer.settings.guard.scan_every = 1
    trainer.train(resume_from_checkpoint=str(older.path))  # goes back to 4, not to 8
    assert [e["to_step"] for e in trainer.events if e["event"] == "rollback"] == [4]
    assert [c.step for c in list_checkpoints(trainer.checkpoint_root)] == [12, 8, 4]
    assert all(c.damage() is None for c in list_checkpoints(trainer.checkpoint_root))


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn]
)
def test_every_kind_of_number_is_looked_at(dtype):
    fine = {"a": torch.full((3,), 1.5).to(dtype), "empty": torch.empty(0, dtype=dtype), "n": torch.arange(3)}
    assert not list(not_finite(fine.items()))
    bad = fine["a"].clone()
    bad[1] = float("nan")
    assert list(not_finite({**fine, "bad": bad}.items())) == ["bad"]


def test_a_single_number_of_an_optimizer_may_be_infinite():
    best = {"best": torch.tensor(float("inf")), "least": torch.tensor([-float("inf")])}
    assert not list(not_finite(best.items()))
    assert list(not_finite({"step": torch.tensor(float("nan"))}.items())) == ["step"]
    assert not list(not_finite({"large": torch.tensor([1e300, 1.0], dtype=torch.float64)}.items()))
