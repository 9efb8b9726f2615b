"""The length of a run of embeddings."""

from types import SimpleNamespace

import pytest

from ultra_train.tasks.embeddings.training import EmbeddingRun


@pytest.mark.parametrize(
    ("max_steps", "num_epochs", "expected", "planned"),
    [
        (None, 3, 8, [0, 1, 2]),
        (2, 1000, 2, [0]),
        (3, 1000, 3, [0, 1]),
        (50, 3, 8, [0, 1, 2]),
        (4, None, 4, [0, 1]),
    ],
)
def test_only_the_epochs_that_are_trained_are_planned(max_steps, num_epochs, expected, planned):
    """Planning an epoch of a million rows takes seconds."""
    seen = []

    def batches(epoch):
        seen.append(epoch)
        return 5

    training = SimpleNamespace(max_steps=max_steps, num_epochs=num_epochs, gradient_accumulation_steps=2)
    loader = SimpleNamespace(plan=SimpleNamespace(batches=batches))
    assert EmbeddingRun.steps(SimpleNamespace(training=training), loader) == expected
    assert seen == planned
