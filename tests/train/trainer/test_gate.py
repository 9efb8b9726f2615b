"""The gate alone, in front of a trainer that only records what is done to it."""

from __future__ import annotations

import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from ultra_train.system.processes import Processes
from ultra_train.trainer.gate import Update, UpdateGate
from ultra_train.trainer.guards import Guard, RollbackNeeded


class Scaler:
    """Counts how often its scale is updated."""

    updates = 0

    def update(self):
        self.updates += 1


def make_host(scaler=None, world_size=1):
    model = torch.nn.Linear(2, 1)
    host = SimpleNamespace(
        args=SimpleNamespace(world_size=world_size),
        model=model,
        optimizer=SimpleNamespace(_is_overflow=None),
        state=SimpleNamespace(global_step=7),
        accelerator=SimpleNamespace(
            scaler=scaler,
            optimizer_step_was_skipped=False,
            sync_gradients=True,
            reduce=lambda values, how: {"sum": values + 3}[how],  # the other process has 3 of everything
        ),
        _tr_loss=torch.tensor(5.0),
        compute_loss_context_manager=nullcontext,
        compute_loss=lambda model, inputs, num_items_in_batch: model(inputs).sum() / num_items_in_batch,
        _prepare_inputs=lambda batch: batch,
    )
    host.accelerator.gradient_state = SimpleNamespace(
        _set_sync_gradients=lambda value: setattr(host.accelerator, "sync_gradients", value)
    )
    return host


def make_gate(host=None, **limits):
    events = []
    stream = SimpleNamespace(here=Processes())
    settings = SimpleNamespace(guard=Guard(**limits), on_event=events.append, stream=stream)
    gate = UpdateGate(host or make_host(), settings)
    gate.events = events
    return gate


def attempt(gate, *, loss=1.0, grad_norm=2.0, positions=((0, 1), (0, 2)), micro_batches=()):
    """Let the host add a loss, as an accumulation window does, and ask the gate."""
    before = gate.host._tr_loss.clone()
    gate.begin(Update(micro_batches=micro_batches, positions=positions, num_items=3, loss_before=before))
    gate.host._tr_loss += loss
    return gate.judge(torch.tensor(grad_norm))


def test_an_ordinary_update_is_applied():
    gate = make_gate()
    assert attempt(gate)
    assert gate.objection is None
    assert gate.grad_norm == 2.0
    assert gate.host.state.global_step == 7
    assert gate.host._tr_loss.item() == 6.0
    assert gate.host.optimizer._is_overflow is False
    assert gate.host.accelerator.sync_gradients
    assert (gate.dropped, gate.events) == (0, [])


@pytest.mark.parametrize(
    ("loss", "grad_norm", "reason"),
    [
        (math.nan, 2.0, "the loss is nan"),
        (1.0, math.inf, "the gradient norm is inf"),
        (1.0, 11.0, "the gradient norm 11 is above inf_post_clip_threshold 10"),
    ],
)
def test_a_dropped_update_is_taken_back(loss, grad_norm, reason):
    gate = make_gate(threshold=10.0)
    assert not attempt(gate, loss=loss, grad_norm=grad_norm)
    assert gate.objection == reason
    assert gate.host.state.global_step == 6  # the loop adds one to it
    assert gate.host._tr_loss.item() == 5.0
    assert gate.host.optimizer._is_overflow is True
    assert not gate.host.accelerator.sync_gradients
    (event,) = gate.events
    assert (event["event"], event["step"], event["reason"]) == ("dropped_update", 8, reason)
    assert (event["in_a_row"], event["dropped_updates"]) == (1, 1)
    assert event["grad_norm"] == grad_norm
    assert event["loss"] == pytest.approx(loss, nan_ok=True)  # of one process: nothing is averaged


def test_the_module_is_sought_only_for_numbers_that_are_not_finite():
    gate = make_gate(threshold=10.0)
    bad = torch.full((1, 2), math.nan)
    attempt(gate, grad_norm=11.0, micro_batches=[bad])
    attempt(gate, loss=math.nan, micro_batches=[torch.ones(1, 2), bad])
    assert [event["module"] for event in gate.events] == [None, "the model (Linear)"]


def test_the_loss_is_that_of_the_update_alone_and_of_all_processes():
    gate = make_gate(make_host(world_size=2))
    gate.host._tr_loss.fill_(math.inf)  # earlier lines do not count
    gate.begin(Update(loss_before=torch.tensor(0.0)))
    gate.host._tr_loss.fill_(math.nan)
    assert not gate.judge(torch.tensor(1.0))
    assert math.isnan(gate.events[0]["loss"])
    gate = make_gate(make_host(world_size=2))
    attempt(gate, loss=4.0, grad_norm=math.nan)
    assert gate.events[0]["loss"] == (4.0 + 3.0) / 2


def test_an_fp16_overflow_is_left_to_the_scaler():
    gate = make_gate(make_host(Scaler()))
    attempt(gate, grad_norm=math.inf)
    assert gate.objection is None
    assert (gate.dropped, gate.host.state.global_step) == (0, 7)
    gate.host.accelerator.optimizer_step_was_skipped = True
    gate.note_optimizer_step()
    assert gate.objection == "fp16 overflow; the gradient scaler lowers its scale"
    assert (gate.dropped, gate.host.state.global_step) == (0, 6)
    gate.note_optimizer_step()
    assert gate.host.state.global_step == 6


def test_a_loss_that_is_not_finite_is_dropped_under_a_scaler_too():
    gate = make_gate(make_host(scaler := Scaler()))
    assert not attempt(gate, loss=math.nan)
    assert (gate.dropped, gate.host.state.global_step, scaler.updates) == (1, 6, 1)
    gate.host.accelerator.optimizer_step_was_skipped = True
    gate.note_optimizer_step()  # the count is taken back once
    assert gate.host.state.global_step == 6


def test_an_applied_update_whose_step_was_done_is_not_taken_back():
    gate = make_gate(make_host(Scaler()))
    attempt(gate)
    gate.note_optimizer_step()
    assert (gate.objection, gate.host.state.global_step) == (None, 7)


def test_a_new_update_has_no_objection():
    gate = make_gate()
    attempt(gate, loss=math.nan)
    gate.begin(Update())
    assert gate.objection is None


def test_only_drops_in_a_row_exhaust_the_patience():
    gate = make_gate(patience=2)
    attempt(gate, loss=math.nan, positions=[(0, 1)])
    attempt(gate)
    attempt(gate, loss=math.nan, positions=[(0, 5)])
    gate.check_patience()
    attempt(gate, loss=math.nan, positions=[(0, 6)])
    with pytest.raises(RollbackNeeded, match=r"2 updates in a row .* because the loss is nan"):
        gate.check_patience()
    assert gate.dropped == 3
    assert gate.offending == [(0, 5), (0, 6)]
    gate.reset_streak()
    gate.check_patience()
    assert (gate.dropped, gate.dropped_in_a_row, gate.offending) == (3, 0, [])


def test_patience_zero_rolls_back_at_the_first_drop_and_not_before():
    gate = make_gate(patience=0)
    gate.check_patience()
    attempt(gate, loss=math.nan)
    assert gate.exhausted


def test_a_checkpoint_restores_the_counts():
    gate = make_gate(patience=3)
    attempt(gate, loss=math.nan)
    attempt(gate)
    attempt(gate, loss=math.nan, positions=[(1, 3)])
    restored = make_gate(patience=3)
    restored.load_state_dict(gate.state_dict())
    assert (restored.dropped, restored.dropped_in_a_row, restored.offending) == (2, 1, [(1, 3)])


@pytest.mark.parametrize("streak", [{}, {"guard": {}}, {"guard": {"in_a_row": "2", "offending": [[0]]}}])
def test_a_checkpoint_without_a_usable_streak_starts_a_new_one(streak):
    gate = make_gate()
    attempt(gate, loss=math.nan)
    gate.load_state_dict({"dropped_updates": 4, **streak})
    assert (gate.dropped, gate.dropped_in_a_row, gate.offending) == (4, 0, [])
