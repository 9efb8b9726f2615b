"""The step of ``ultra-train estimate`` for every kind of label."""

import json

import pytest

from support.tiny_labels import write_labelled_preset
from ultra_core.errors import UltraError
from ultra_train.config import load_preset
from ultra_train.tasks.loading import load_task


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """Path of the preset of each task."""
    tasks = ("classification", "token_classification")
    return {task: write_labelled_preset(tmp_path_factory.mktemp(task), task) for task in tasks}


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ("classification", "single_label"),
        ("classification", "multi_label"),
        ("classification", "regression"),
        ("token_classification", None),
    ],
)
def test_its_loss_has_a_gradient(presets, task, problem):
    keys = [] if problem is None else [f"training.{task}.problem_type={problem}"]
    preset = load_preset(presets[task], keys)
    step = load_task(task).dry_step(preset, device_type="cpu")
    model = step.build_model()
    step.loss(model, step.batch()).backward()
    assert model.classifier.weight.grad.abs().sum() > 0
    assert (step.tokens, step.max_length) == (8 * 24, 24)


def test_a_pooling_that_a_model_does_not_have(presets):
    preset = load_preset(presets["classification"], ["training.classification.pooling=mean"])
    step = load_task("classification").dry_step(preset, device_type="cpu")
    step.build_model()  # the pooling changes no sizes
    from ultra_train.tasks.labelled.model import labelled_model

    with pytest.raises(UltraError, match="bert models have a pooling of their own"):
        labelled_model(
            preset,
            preset.training.classification,
            "single_label",
            ("a", "b"),
            "training.classification",
            print,
        )


def test_a_preset_is_estimated_with_the_keys_of_its_section(ultra):
    made = json.loads(ultra("estimate", "es_intents_beto", "--device", "cpu", "--json").output)
    assert (made["batch_size"], made["max_length"], made["tokens"]) == (16, 64, 16 * 64)
    assert made["memory"]["peak"] > 1.5e9  # weights, gradients and two moments of 110 million parameters
