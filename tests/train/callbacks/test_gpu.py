from __future__ import annotations

import pytest
import torch
from transformers import TrainerControl, TrainerState

from support.ranks import on_ranks
from ultra_train.callbacks.gpu import GpuCallback, HeatLimits
from ultra_train.callbacks.nvml import Reading
from ultra_train.system.processes import Processes, processes
from ultra_train.trainer.agreement import Agreement

LIMITS = HeatLimits(pause=90, resume=80, critical=95, poll_seconds=5)


class Oven:
    """A GPU whose temperatures are given."""

    def __init__(self, *temperatures):
        self.temperatures = list(temperatures)

    def read(self):
        return Reading(self.temperatures.pop(0))

    def advice(self):
        return "its clocks are limited by heat"


class Guard:
    """The callback with what it says, how long it sleeps and what it writes, after one update."""

    def __init__(self, gpu, here=None, **options):
        self.said, self.slept, self.extra, self.events = [], [], {}, []
        self.agreement = Agreement(here or Processes())
        self.callback = GpuCallback(
            gpu,
            options.pop("limits", LIMITS),
            agreement=self.agreement,
            metrics=self.extra,
            notify=self.said.append,
            record=self.events.append,
            sleep=self.slept.append,
            clock=lambda: 1000.0 * len(self.slept),
            **options,
        )
        self.control = TrainerControl()
        self.update()

    def update(self):
        state = TrainerState(global_step=7)
        self.callback.on_step_end(None, state, self.control)
        self.agreement.settle(self.control)
        self.callback.on_agreed(None, state, self.control)


def test_a_cool_gpu_is_only_logged():
    guard = Guard(Oven(60.0))
    assert (guard.said, guard.slept, guard.extra) == ([], [], {"gpu_celsius": 60.0})
    assert not guard.control.should_training_stop


def test_a_hot_one_pauses_until_it_is_below_the_lower_threshold():
    guard = Guard(Oven(91, 92, 80, 79))
    assert sum(guard.slept) == 15
    assert guard.said == [
        "GPU at 91 C: paused until it is below 80 C (its clocks are limited by heat)",
        "GPU at 79 C: continuing",
    ]
    assert not guard.control.should_training_stop
    (event,) = guard.events
    assert event == {"event": "pause", "step": 7, "reason": "a GPU at 92 C", "seconds": 15_000}


@pytest.mark.parametrize("temperatures", [(96,), (91, 96)])
def test_a_critical_one_saves_and_stops(temperatures):
    guard = Guard(Oven(*temperatures))
    assert guard.control.should_save
    assert guard.control.should_training_stop
    assert guard.callback.stopped_at == 96
    assert "critical" in guard.said[-1]


def test_a_pause_ends_within_a_second_when_the_run_is_interrupted():
    asked = iter([False, False, True])
    guard = Guard(Oven(91, 91, 91), stopping=lambda: next(asked))
    assert guard.slept == [1, 1]
    assert [event["event"] for event in guard.events] == ["pause"]


def test_without_a_guard_heat_is_only_logged():
    guard = Guard(Oven(120.0), limits=None)
    assert (guard.said, guard.slept) == ([], [])
    assert guard.extra == {"gpu_celsius": 120.0}
    assert not guard.control.should_training_stop


def test_it_is_not_read_more_often_than_asked():
    guard = Guard(gpu := Oven(60.0, 61.0))
    guard.update()
    assert gpu.temperatures == [61.0]


def test_it_moves_to_the_coolest_device_instead_of_pausing():
    others = {torch.device("cuda", 1): Oven(79.0), torch.device("cuda", 2): Oven(40.0)}
    guard = Guard(Oven(91), others=others)
    assert guard.callback.moving_to == torch.device("cuda", 2)
    assert guard.control.should_save
    assert guard.control.should_training_stop
    assert guard.slept == []
    assert guard.said == ["GPU at 91 C: continuing on cuda:2"]
    assert guard.events == [{"event": "moved", "step": 7, "reason": "91 C"}]


def test_it_pauses_when_the_others_are_warm_too():
    guard = Guard(Oven(91, 70), others={torch.device("cuda", 1): Oven(80.0)})
    assert guard.callback.moving_to is None
    assert sum(guard.slept) == 5


@pytest.mark.parametrize(
    ("first", "second", "seconds", "stops"),
    [
        ((60, 60, 60), (91, 85, 70), 10, False),  # the cool one waits for the hot one
        ((91, 70), (60, 60), 5, False),
        ((60,), (96,), 0, True),
        ((91, 70), (60, 96), 5, True),  # one gets critical during the pause
        ((60, 60), None, 0, False),  # one cannot be read
    ],
)
def test_all_processes_pause_and_stop_together(first, second, seconds, stops):
    def rank():
        here = processes()
        temperatures = (first, second)[here.rank]
        guard = Guard(None if temperatures is None else Oven(*temperatures), here)
        return sum(guard.slept), guard.control.should_training_stop, guard.callback.stopped_at

    assert on_ranks(2, rank) == [(seconds, stops, 96.0 if stops else None)] * 2


def test_a_signal_to_one_process_ends_the_pause_of_all():
    def rank():
        here = processes()
        guard = Guard(Oven(91, 91), here, stopping=lambda: here.rank == 1)
        return guard.slept

    assert on_ranks(2, rank) == [[], []]
