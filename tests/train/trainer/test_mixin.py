from __future__ import annotations

import inspect
import json
import math

import pytest
import torch
from transformers import Trainer, TrainerCallback

from ultra_optim import build
from ultra_train.trainer.base import TrainerBase
from ultra_train.trainer.checkpoints.folders import CheckpointError, list_checkpoints
from ultra_train.trainer.checkpoints.retention import RetentionPolicy
from ultra_train.trainer.curvature import CurvatureMixin
from ultra_train.trainer.guards import TrainingDiverged
from ultra_train.trainer.loading import LoadingMixin
from ultra_train.trainer.log_lines import LogMixin
from ultra_train.trainer.mixin import UltraTrainerMixin
from ultra_train.trainer.recovery import RecoveryMixin
from ultra_train.trainer.saving import SavingMixin
from ultra_train.trainer.stream import num_real_tokens


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


PARTS = (CurvatureMixin, RecoveryMixin, SavingMixin, LoadingMixin, LogMixin, TrainerBase, UltraTrainerMixin)
OWN = {
    "_ask_gate",
    "_check_finite",
    "_collected",
    "_fill_checkpoint",
    "_is_finished",
    "_judge_gradients",
    "_labels_of_all",
    "_load_parts",
    "_load_progress",
    "_load_weights",
    "_not_finite",
    "_notice",
    "_refuse_other_names",
    "_load_loss_weights",
    "_roll_back",
    "_save_under_own_names",
    "_settle",
    "_write_checkpoint",
    "call_callbacks",
    "check_curvature",
    "checkpoint_bytes",
    "estimate_curvature",
    "evaluate_overdue",
    "load_best",
    "load_finished",
    "load_log_window",
    "log_window",
    "restore_loss_sums",
    "restore_special_tokens",
    "sampled_loss",
    "start_clock",
    "unshard",
}
"""Methods that transformers does not call; every other one must be there, with the same parameters."""


def test_every_override_exists_in_transformers_with_the_same_parameters():
    methods = {n: f for part in PARTS for n, f in vars(part).items() if inspect.isfunction(f)}
    assert methods.keys() >= OWN
    for name in methods.keys() - OWN - {"__init__", "evaluate", "train"}:
        mine = list(inspect.signature(methods[name]).parameters)
        assert mine == list(inspect.signature(getattr(Trainer, name)).parameters), name
    assert "resume_from_checkpoint" in inspect.signature(Trainer.train).parameters
    assert not any(hasattr(Trainer, name) for name in OWN)


def test_the_loop_calls_every_override(make_trainer, monkeypatch):
    called = set()
    names = {
        "create_optimizer",
        "create_scheduler",
        "get_train_dataloader",
        "get_batch_samples",
        "log",
        "_save",
    }
    names |= {"floating_point_ops", "_clip_grad_norm", "_get_grad_norm", "_save_checkpoint"}
    for name in names:
        for cls in PARTS:
            if name in vars(cls):
                original = vars(cls)[name]

                def spy(self, *args, _name=name, _original=original, **kwargs):
                    called.add(_name)
                    return _original(self, *args, **kwargs)

                monkeypatch.setattr(cls, name, spy)
    trainer = make_trainer(max_steps=4)
    trainer.train()
    trainer.save_model(str(trainer.checkpoint_root / "model"))
    assert called == names


def test_accumulation_gives_the_same_update_as_one_window_of_the_same_tokens(make_trainer, weights):
    def step_norms(trainer):
        trainer.train()
        return weights(trainer)

    # dropout off: the split into micro-batches then changes nothing but rounding
    a, b = make_trainer("a", max_steps=1, accumulation=2), make_trainer("b", max_steps=1, accumulation=1)
    for trainer in (a, b):
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    first, second = (next_batch for next_batch in list(b.loader)[:2])
    b.loader.load_state_dict({"epoch": 0, "index": 0})
    width = max(first["input_ids"].shape[1], second["input_ids"].shape[1])
    pad = lambda t, v: torch.nn.functional.pad(t, (0, width - t.shape[1]), value=v)  # noqa: E731
    losses = []
    for trainer, batches in ((a, [first, second]), (b, [first, second])):
        items = sum((x["labels"] != -100).sum() for x in batches)
        losses.append(
            sum(trainer.model.eval()(**x, num_items_in_batch=items)["loss"].item() for x in batches)
        )
    assert losses[0] == losses[1]
    joined = torch.cat([pad(x["labels"], -100) for x in (first, second)])
    assert (joined != -100).sum() == sum((x["labels"] != -100).sum() for x in (first, second))
    a.train()
    logged = a.state.log_history[0]["loss"]
    assert logged == pytest.approx(losses[0], rel=1e-6)


def test_a_dropped_update_leaves_no_trace(make_trainer, weights):
    """Skipping a poisoned window is bit for bit the run whose data never held that window."""
    poisoned, clean = make_trainer("a", patience=5), make_trainer("b", patience=5)
    poisoned.loader.poison = {(0, 3)}
    clean.settings.stream.skipped |= {(0, 2), (0, 3)}

    class KeepGenerator(TrainerCallback):
        """Dropout of the dropped window consumes random numbers; give them back."""

        def on_step_begin(self, *args, **kwargs):
            self.before = torch.get_rng_state()

        def on_step_end(self, *args, **kwargs):
            if poisoned.gate.objection:
                torch.set_rng_state(self.before)

    poisoned.add_callback(KeepGenerator())
    for trainer in (poisoned, clean):
        torch.manual_seed(3)
        trainer.train()
    assert same(weights(poisoned), weights(clean))
    assert (
        poisoned.optimizer.state_dict()["state"][0]["step"]
        == clean.optimizer.state_dict()["state"][0]["step"]
    )
    assert poisoned.lr_scheduler.state_dict() == clean.lr_scheduler.state_dict()
    assert poisoned.state.global_step == clean.state.global_step == 12
    assert poisoned.gate.dropped == 1
    assert poisoned.loader.state_dict() == clean.loader.state_dict()
    (event,) = poisoned.events
    assert event["event"] == "dropped_update"
    assert math.isnan(event["loss"])
    assert "cls" in event["module"]
    assert event["step"] == 2
    assert all(math.isfinite(h["loss"]) for h in poisoned.state.log_history if "loss" in h)


def test_a_norm_above_the_threshold_is_dropped_before_clipping(make_trainer):
    trainer = make_trainer(threshold=1e-9, patience=3, max_norm=0.5)
    with pytest.raises(TrainingDiverged, match="inf_post_clip_threshold"):
        trainer.train()
    assert [e["in_a_row"] for e in trainer.events] == [1, 2, 3]
    assert {(e["step"], e["module"]) for e in trainer.events} == {(1, None)}
    assert trainer.state.global_step == 0


def test_clipping_is_exactly_torch_clipping(make_trainer):
    trainer = make_trainer(max_steps=1, max_norm=0.01)
    seen = {}

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, *args, model, **kwargs):
            seen["norm"] = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).item()

    trainer.add_callback(Look())
    trainer.train()
    assert seen["norm"] == pytest.approx(0.01, rel=1e-3)
    assert trainer.state.log_history[0]["grad_norm"] > 0.1


def test_going_back_leaves_the_offending_window_out_once_and_then_stops(make_trainer):
    trainer = make_trainer(patience=2, max_steps=12, save_steps=4)
    trainer.loader.poison = {(2, 1), (2, 3)}
    trainer.train()
    kinds = [e["event"] for e in trainer.events]
    assert kinds == ["dropped_update", "dropped_update", "rollback"]
    assert trainer.events[-1]["to_step"] == 4
    assert trainer.events[-1]["left_out"] == [(2, 0), (2, 1), (2, 2), (2, 3)]
    assert trainer.state.global_step == 12
    assert json.loads((trainer.settings.rollbacks.path).read_text())["count"] == 1
    again = make_trainer(patience=2, max_steps=20)
    assert again.settings.stream.skipped == {(2, 0), (2, 1), (2, 2), (2, 3)}
    again.loader.poison = {(e, i) for e in range(5, 9) for i in range(5)}
    with pytest.raises(TrainingDiverged, match="had rolled back once already"):
        again.train(resume_from_checkpoint=str(list_checkpoints(again.checkpoint_root)[0].path))


def test_non_finite_weights_are_found_by_the_scan(make_trainer):
    trainer = make_trainer(scan_every=2)

    class Break(TrainerCallback):
        def on_step_end(self, args, state, control, model, **kwargs):
            if state.global_step == 5 and not trainer.settings.rollbacks.count:
                with torch.no_grad():
                    model.cls.predictions.bias[0] = float("inf")

    trainer.add_callback(Break())
    trainer.train()
    assert "rollback" in [e["event"] for e in trainer.events]
    assert trainer.state.global_step == 12


@pytest.mark.parametrize(("stop", "accumulation"), [(4, 2), (5, 1), (8, 2), (8, 3)])
def test_a_resumed_run_is_bit_identical(make_trainer, weights, stop, accumulation):
    """Dropout, accumulation, mid-epoch and (step 5 of 5 batches) at the boundary of an epoch."""
    whole = make_trainer("whole", accumulation=accumulation)
    whole.train()
    first = make_trainer("cut", accumulation=accumulation, save_steps=stop)

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step >= stop + 1

    first.add_callback(Stop())
    first.train()
    second = make_trainer("cut", accumulation=accumulation, save_steps=100)
    torch.manual_seed(999)
    second.train(resume_from_checkpoint=str(second.checkpoint_root / f"checkpoint-{stop}"))
    assert same(weights(whole), weights(second))
    assert whole.optimizer.state_dict()["param_groups"] == second.optimizer.state_dict()["param_groups"]
    assert second.loader.handed_out == whole.loader.handed_out[stop * accumulation :]
    assert second.tokens_seen == whole.tokens_seen


def test_a_finished_run_trains_no_further(make_trainer, weights):
    trainer = make_trainer()
    trainer.train()
    again = make_trainer()
    again.train(resume_from_checkpoint=str(again.checkpoint_root / "checkpoint-12"))
    assert same(weights(trainer), weights(again))
    assert again.loader.handed_out == []


def test_resuming_on_other_data_is_refused(make_trainer):
    make_trainer(max_steps=4).train()
    other = make_trainer(data="elsewhere")
    with pytest.raises(CheckpointError, match="other data"):
        other.train(resume_from_checkpoint=str(other.checkpoint_root / "checkpoint-4"))


def test_checkpoints_hold_no_pickles_and_say_what_made_them(make_trainer):
    trainer = make_trainer(max_steps=8, retention=RetentionPolicy(newest=1))
    trainer.train()
    (checkpoint,) = list_checkpoints(trainer.checkpoint_root)
    assert {p.suffix for p in checkpoint.path.iterdir()} <= {".safetensors", ".json"}
    assert checkpoint.damage() is None
    assert checkpoint.manifest["data"] == "here"
    assert not list(trainer.checkpoint_root.glob(".writing*"))


def test_two_sets_of_weights_are_evaluated_saved_and_resumed_right(make_trainer, weights):
    """A schedule-free style optimizer: the model in a checkpoint is the averaged one, resuming is exact."""
    from safetensors.torch import load_file

    from ultra_optim.contract.traits import OptimizerTraits

    class TwoPhase(torch.optim.AdamW):
        traits = OptimizerTraits(eval_weights=True)

        def eval(self):
            for group in self.param_groups:
                for p in group["params"]:
                    p.data.mul_(3.0)

        def train(self):
            pass

    build = lambda modules: TwoPhase(modules[0].parameters(), lr=1e-2)  # noqa: E731
    whole = make_trainer("whole", build_optimizer=build)
    whole.train()
    cut = make_trainer("cut", build_optimizer=build)
    cut.train(resume_from_checkpoint=str(whole.checkpoint_root / "checkpoint-4"))
    assert same(weights(whole), weights(cut))
    saved = load_file(whole.checkpoint_root / "checkpoint-12" / "model.safetensors")
    name = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(saved[name], whole.model.state_dict()[name] * 3.0)
    finished = make_trainer("whole", build_optimizer=build)
    finished.train(resume_from_checkpoint=str(whole.checkpoint_root / "checkpoint-12"))
    assert torch.equal(finished.model.state_dict()[name], saved[name])


def test_the_best_checkpoints_stay(make_trainer):
    trainer = make_trainer(
        max_steps=6, save_steps=1, retention=RetentionPolicy(newest=1, best=1, metric="eval_loss")
    )
    values = {1: 3.0, 2: 1.0, 3: 2.0, 4: 5.0, 5: 1.5, 6: 9.0}

    class Score(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            trainer.last_evaluation = (state.global_step, {"eval_loss": values[state.global_step]})

    trainer.add_callback(Score())
    trainer.train()
    assert sorted(c.step for c in list_checkpoints(trainer.checkpoint_root)) == [2, 6]


def test_rates_of_every_role_tokens_and_drops_are_logged(make_trainer):
    build = lambda modules: torch.optim.SGD(  # noqa: E731
        [{"params": list(modules[0].parameters()), "role": "attention", "lr": 0.5}]
    )
    trainer = make_trainer(max_steps=2, build_optimizer=build)
    trainer.train()
    line = trainer.state.log_history[1]
    assert line["lr_attention"] == pytest.approx(0.5 / 2)
    assert line["tokens_seen"] == 3 * (4 + 5 + 6 + 7)
    assert line["tokens_per_second"] > 0
    assert line["dropped_updates"] == 0
    assert num_real_tokens({"attention_mask": torch.tensor([[1, 1, 0]])}) == 2


def test_a_checkpoint_of_another_optimizer_is_refused_plainly(make_trainer):
    first = make_trainer(max_steps=4, build_optimizer=lambda modules: build("adamw", modules, lr=1e-3))
    first.train()
    other = make_trainer(build_optimizer=lambda modules: build("lion", modules, lr=1e-3))
    with pytest.raises(CheckpointError, match=r"does not fit the optimizer.*training.optimizer of the run"):
        other.train(resume_from_checkpoint=str(other.checkpoint_root / "checkpoint-4"))
