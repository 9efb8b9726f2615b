"""A dry run takes what the same update takes on real tensors, by torch's allocation profiler."""

import pytest
import torch

from ultra_core import blocks, optimizers
from ultra_train.estimate.dry_run import dry_run
from ultra_train.estimate.estimate import task_of
from ultra_train.estimate.measured import measured_peak
from ultra_train.trainer import data_parallel
from ultra_train.trainer.plugins import optimizer_builder

TOLERANCE = 0.15
"""The error that the issue allows; most of these differ by less than a hundredth."""

OPTIMIZERS = ("lion", "muon", "galore_adamw", "schedulefree_adamw")


def both(preset, accumulation=2):
    """Return the estimated memory and the measured peak of a preset on the CPU."""
    step = task_of(preset).dry_step(preset, device_type="cpu")
    build = optimizer_builder(preset.training)
    run = dry_run(step, build_optimizer=build, accumulation=accumulation, autocast=None, on_cpu=True)
    return run.memory, measured_peak(step, build, accumulation=accumulation)


@pytest.mark.parametrize("name", blocks.names())
def test_every_block(small, name):
    estimated, measured = both(small(f"model.layer_pattern=[{name}]", "model.num_layers=1"))
    assert estimated.peak == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(small, name, monkeypatch):
    """Matrix methods have matrices that processes divide: Muon with a number of state for each of theirs."""
    monkeypatch.setattr(data_parallel, "LEAST", 1)
    chosen = f"training.optimizer={{optimizer_class: {name}, parameters: {{{name}-lr: 1e-3}}}}"
    extra = ["training.scheduler_type=constant"] if name == "schedulefree_adamw" else []
    estimated, measured = both(small("model.hidden_size=96", chosen, *extra))
    assert estimated.peak == pytest.approx(measured, rel=TOLERANCE)
    assert bool(estimated.divided) == optimizers.get(name).traits.matrix
    if name == "muon":
        assert 0 < estimated.divided_state == estimated.divided < estimated.weights


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.use_moe=true", "model.use_bitnet=true", "model.norm_type=dynamic_tanh"),
        ("model.use_factorized_embedding=true", "model.factorized_embedding_dim=16"),
    ],
)
def test_variants_of_the_model(small, overrides):
    estimated, measured = both(small(*overrides), accumulation=1)
    assert estimated.peak == pytest.approx(measured, rel=TOLERANCE)


def test_activation_checkpointing_needs_less(small):
    preset = small("model.num_layers=4")
    step = task_of(preset).dry_step(preset, device_type="cpu")
    common = {"build_optimizer": optimizer_builder(preset.training), "accumulation": 2, "on_cpu": True}
    plain = dry_run(step, autocast=None, **common).memory
    saved = dry_run(step, autocast=None, activation_checkpointing=True, **common).memory
    assert saved.activations < plain.activations / 2
    assert saved.backward_flops > plain.backward_flops
    half = dry_run(step, autocast=torch.bfloat16, **common).memory
    assert half.weights == plain.weights
    assert half.working < plain.working


def test_an_optimizer_that_needs_curvature(small):
    preset = small("training.optimizer={optimizer_class: sophia, parameters: {sophia-lr: 1e-3}}")
    step = task_of(preset).dry_step(preset, device_type="cpu")
    build = optimizer_builder(preset.training)
    memory = dry_run(step, build_optimizer=build, accumulation=1, autocast=None, on_cpu=True).memory
    assert memory.state == pytest.approx(2 * memory.gradients, rel=0.02)
