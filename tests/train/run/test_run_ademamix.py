"""A run of a preset with ademamix: its slow average has come in when the run ends, not the schedule."""

import pytest
import torch

from ultra_optim import AdEMAMix
from ultra_train.config import load_preset
from ultra_train.trainer.plugins import optimizer_builder, schedule

CLASS = "training.optimizer={optimizer_class: ademamix, parameters: {ademamix-lr: 0.01, ademamix-alpha: 4.0}}"


@pytest.mark.parametrize(
    ("overrides", "updates"),
    [(["training.max_samples=5"], 2), (["training.max_steps=3"], 3)],
)
def test_it_is_told_the_updates_of_the_run(run_tiny, tmp_path, monkeypatch, overrides, updates):
    shares = []
    between = AdEMAMix.update.__globals__["between_half_lives"]

    def watched(beta1, beta3, share):
        shares.append(share)
        return between(beta1, beta3, share)

    monkeypatch.setitem(AdEMAMix.update.__globals__, "between_half_lives", watched)
    run_tiny(tmp_path, CLASS, "training.scheduler_total_steps=400", "training.eval_fraction=0", *overrides)
    assert sorted(set(shares)) == pytest.approx([step / updates for step in range(1, updates + 1)])


@pytest.mark.parametrize(
    ("overrides", "updates", "expected"),
    [([], 5, 5), ([], None, 12), (["training.max_steps=7"], None, 7), (["training.max_steps=7"], 5, 5)],
)
def test_where_the_updates_come_from(tiny_preset, overrides, updates, expected):
    training = load_preset(tiny_preset, [CLASS, *overrides]).training
    build = optimizer_builder(training, updates=updates)
    assert build([torch.nn.Linear(2, 2)]).param_groups[0]["total_steps"] == expected
    assert schedule(training)(12) == pytest.approx(0.0, abs=1e-6)
