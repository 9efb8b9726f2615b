"""Lines of the log across rollbacks and resumes, and norms of gradients by role."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import TrainerCallback

from ultra_train.callbacks.gradients import GradientCallback
from ultra_train.callbacks.metrics import MetricsCallback
from ultra_train.callbacks.metrics_file import MetricsFile


class Killed(BaseException):
    """Passes every handler, as a kill does."""


def with_lines(trainer):
    """Let a trainer write its lines and events as a run does."""
    file = MetricsFile(trainer.settings.run_folder / "metrics.jsonl")
    file.path.parent.mkdir(exist_ok=True)
    trainer.settings.on_event = file.write
    trainer.add_callback(MetricsCallback(file, persistent_events=lambda: trainer.settings.rollbacks.events))
    return trainer


def lines(trainer):
    text = (trainer.settings.run_folder / "metrics.jsonl").read_text()
    records = map(json.loads, text.splitlines())
    clock = ("_per_second", "_hours", "data_wait_share")
    return [{k: v for k, v in r.items() if not k.endswith(clock)} for r in records]


@pytest.mark.parametrize("step", [5, 7, 9])
def test_a_run_that_went_back_and_was_killed_has_the_lines_of_one_that_went_back(make_trainer, step):
    poison = {(2, 1), (2, 3)}
    whole = with_lines(make_trainer("whole", patience=2))
    whole.loader.poison = poison
    whole.train()
    assert [r["event"] for r in lines(whole) if "event" in r] == ["rollback"]
    cut = with_lines(make_trainer("cut", patience=2))
    cut.loader.poison = poison

    class Kill(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == step and cut.settings.rollbacks.count:
                raise Killed

    cut.add_callback(Kill())
    with pytest.raises(Killed):
        cut.train()
    again = with_lines(make_trainer("cut", patience=2))
    again.loader.poison = poison
    newest = again.checkpoint_root / f"checkpoint-{step // 4 * 4}"
    again.train(resume_from_checkpoint=str(newest))
    assert lines(again) == lines(whole)


def test_drops_in_a_row_count_across_a_resume(make_trainer):
    """A run that a signal stopped between two dropped updates goes back at the same one."""
    first = make_trainer(patience=2)
    first.loader.poison = {(0, 3), (1, 0)}  # the second and the third window

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if first.gate.dropped_in_a_row == 1:
                control.should_save = control.should_training_stop = True

    first.add_callback(Stop())
    first.train()
    again = make_trainer(patience=2)
    again.loader.poison = first.loader.poison
    again.train(resume_from_checkpoint=str(again.checkpoint_root / "checkpoint-1"))
    kinds = [(e["event"], e.get("in_a_row")) for e in again.events]
    assert kinds == [("dropped_update", 2), ("rollback", None)]
    assert again.events[-1]["left_out"] == [(0, 2), (0, 3), (0, 4), (1, 0)]


@pytest.mark.parametrize("max_norm", [1e-3, 1e9, 0.0])
def test_squares_of_the_norms_of_the_roles_sum_to_that_of_all(make_trainer, max_norm):
    def build(modules):
        named = list(modules[0].named_parameters())
        roles = {"embeddings": "embeddings", "attention": "attention"}
        groups = {}
        for name, parameter in named:
            role = next((r for word, r in roles.items() if word in name), "other")
            groups.setdefault(role, []).append(parameter)
        return torch.optim.SGD([{"params": p, "role": role} for role, p in groups.items()], lr=0.1)

    trainer = make_trainer(max_steps=6, max_norm=max_norm, build_optimizer=build, threshold=float("inf"))
    trainer.add_callback(GradientCallback(trainer.extra_metrics, every=2))
    trainer.loader.poison = {(1, 0)}  # the third update is tried twice
    trainer.train()
    measured = [h for h in trainer.state.log_history if "grad_norm_other" in h]
    assert [h["step"] for h in measured] == [1, 2, 4, 6]
    for line in measured:
        roles = [v for k, v in line.items() if k.startswith("grad_norm_")]
        assert len(roles) == 3
        assert sum(v * v for v in roles) == pytest.approx(line["grad_norm"] ** 2, rel=1e-5)
