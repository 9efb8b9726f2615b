from __future__ import annotations

import pytest
from transformers import TrainerControl

from ultra_train.callbacks.gpu import GpuCallback, HeatLimits, Nvml, Reading


class Oven:
    """A GPU whose temperatures are given."""

    def __init__(self, *temperatures):
        self.temperatures = list(temperatures)

    def read(self):
        return Reading(self.temperatures.pop(0))


def guard(gpu, **options):
    said, slept, extra = [], [], {}
    clock = iter(range(0, 100_000, 1000))
    callback = GpuCallback(
        gpu,
        options.pop("limits", HeatLimits(pause=90, resume=80, critical=95, poll_seconds=5)),
        metrics=extra,
        notify=said.append,
        sleep=slept.append,
        clock=lambda: next(clock),
        **options,
    )
    control = TrainerControl()
    callback.on_step_end(None, None, control)
    return said, slept, extra, control, callback


def test_a_cool_gpu_is_only_logged():
    said, slept, extra, control, _ = guard(Oven(60.0))
    assert (said, slept, extra) == ([], [], {"gpu_celsius": 60.0})
    assert not control.should_training_stop


def test_a_hot_one_pauses_until_it_is_below_the_lower_threshold():
    said, slept, _, control, _ = guard(Oven(91, 88, 80, 79))
    assert slept == [5, 5, 5]
    assert "paused until it is below 80 C" in said[0]
    assert "continuing" in said[1]
    assert not control.should_training_stop


@pytest.mark.parametrize("temperatures", [(96,), (91, 96)])
def test_a_critical_one_saves_and_stops(temperatures):
    said, _, _, control, callback = guard(Oven(*temperatures))
    assert control.should_save
    assert control.should_training_stop
    assert callback.stopped_at == 96
    assert "critical" in said[-1]


def test_a_pause_ends_when_the_run_is_interrupted():
    _, slept, *_ = guard(Oven(91, 91, 91), stopping=lambda: True)
    assert slept == []


def test_without_a_guard_heat_is_only_logged():
    said, slept, extra, control, _ = guard(Oven(120.0), limits=None)
    assert (said, slept) == ([], [])
    assert extra == {"gpu_celsius": 120.0}
    assert not control.should_training_stop


def test_it_is_not_read_more_often_than_asked():
    gpu = Oven(60.0, 61.0)
    callback = GpuCallback(gpu, HeatLimits(poll_seconds=10), metrics={}, notify=print, clock=lambda: 5.0)
    callback.on_step_end(None, None, TrainerControl())
    callback.on_step_end(None, None, TrainerControl())
    assert gpu.temperatures == [61.0]


def test_a_gpu_that_is_not_there_is_an_oserror():
    with pytest.raises(OSError, match="no GPU 4711"):
        Nvml(4711)
