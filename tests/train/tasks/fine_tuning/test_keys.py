import json

import pytest

from ultra_train.tasks.fine_tuning.keys import fitted_keys
from ultra_train.tasks.loading import load_task

TEXT = """\
base_model: some/encoder
training:
  task: sbert
  sbert: {dataset_name: some/pairs, learning_rate: 1e-5, batch_size: 12, epochs: 3, warmup_steps: 5}
"""


def keys(load, *overrides):
    preset = load(TEXT, *overrides)
    return load_task("sbert").training_keys(preset), preset.training.sbert


def optimizer(name, **parameters):
    return f"training.sbert.optimizer={json.dumps({'optimizer_class': name, 'parameters': parameters})}"


def test_the_section_takes_the_place_of_its_counterparts(load):
    training, _ = keys(load, "training.sbert.max_grad_norm=0.5", "training.sbert.output_dir=x")
    assert (training.batch_size, training.num_epochs, training.max_steps) == (12, 3, None)
    assert (training.grad_clip_max_norm, training.hf_output_dir) == (0.5, "x")
    assert training.optimizer.parameters == {"adamw-lr": 1e-5}


@pytest.mark.parametrize(
    ("override", "parameters"),
    [
        (optimizer("lion", weight_decay=0.1), {"lion-lr": 1e-5, "lion-weight_decay": 0.1}),
        (optimizer("lion", lr=1e-3), {"lion-lr": 1e-3}),
        (optimizer("prodigy"), {}),
        ("training.optimizer={optimizer_class: muon, parameters: {muon-lr: 0.1}}", {"muon-lr": 0.1}),
    ],
)
def test_the_learning_rate_holds_unless_the_optimizer_has_one(load, override, parameters):
    training, _ = keys(load, override)
    assert training.optimizer.parameters == parameters


def test_schedule_evaluations_and_checkpoints_fit_the_length_of_the_run(load):
    training, options = keys(load)
    fitted = fitted_keys(training, options, updates=30, per_epoch=9.8)
    assert round(fitted.scheduler_total_steps * fitted.scheduler_warmup_ratio) == 5
    assert (fitted.eval_every_n_steps, fitted.checkpoint_every_n_steps) == (10, 10)
    training, options = keys(load, "training.sbert.evaluation_steps=4", "training.sbert.warmup_steps=99")
    fitted = fitted_keys(training, options, updates=30, per_epoch=9.8)
    assert (fitted.eval_every_n_steps, fitted.scheduler_warmup_ratio) == (4, 1.0)
