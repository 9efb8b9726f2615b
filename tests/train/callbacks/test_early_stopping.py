"""The update at which a run without progress ends."""

from types import SimpleNamespace

import pytest

from ultra_train.callbacks.early_stopping import EarlyStopping
from ultra_train.trainer.checkpoints.retention import RetentionPolicy


def stopped_at(values, *, resumed_at=0, patience=2, threshold=0.0, greater=False, max_steps=99):
    """Return the update after which a run ends whose evaluations give these values, one at every update."""
    lines = [{"step": step, "eval_loss": value} for step, value in enumerate(values, start=1)]
    events, control = [], SimpleNamespace(should_training_stop=False)
    callback = EarlyStopping(
        RetentionPolicy(metric="eval_loss", greater_is_better=greater),
        patience=patience,
        threshold=threshold,
        history=lambda: [{"step": 0, "event": "data", "eval_loss": -9}, *lines],
        record=events.append,
    )
    state, args = SimpleNamespace(global_step=resumed_at), SimpleNamespace(max_steps=max_steps)
    callback.on_train_begin(args, state, control)
    for line in lines[resumed_at:]:
        state.global_step = line["step"]
        callback.on_evaluate(args, state, control, metrics=line)
        if control.should_training_stop:
            assert events[0]["step"] == line["step"]
            assert "eval_loss did not improve" in events[0]["reason"]
            return line["step"]
    return None


@pytest.mark.parametrize("resumed_at", [0, 1, 2, 3])
def test_it_ends_at_the_same_update_wherever_it_is_resumed(resumed_at):
    assert stopped_at([5, 3, 4, 3, 1], resumed_at=resumed_at) == 4


def test_a_better_value_begins_the_count_anew():
    assert stopped_at([5, 6, 4, 5, 3, 9, 9]) == 7
    assert stopped_at([5, 6, 4, 5, 3]) is None


def test_an_improvement_has_to_be_above_the_threshold():
    assert stopped_at([5.0, 4.95, 4.91], threshold=0.1) == 3
    assert stopped_at([5.0, 4.95, 4.85], threshold=0.1) is None


def test_greater_values_may_be_better():
    assert stopped_at([1, 2, 3], greater=True) is None
    assert stopped_at([1, 2, 3]) == 3


def test_a_run_that_is_over_does_not_end_early():
    assert stopped_at([1, 2, 3], max_steps=3) is None


def test_values_that_are_not_there_do_not_count():
    assert stopped_at([3, None, 2, None, 1]) is None
