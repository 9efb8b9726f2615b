"""Telemetry of the GPU, and the guard against overheating, which all processes of a run obey together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ultra_train.callbacks.nvml import Gpu
from ultra_train.trainer.agreement import Agreement

COOL, HOT, CRITICAL = 0.0, 1.0, 2.0
"""What a process says of its GPU."""
SLICE = 1.0
"""Seconds of a pause between two exchanges of the processes, none of which may take the others for lost."""


@attrs.frozen(kw_only=True)
class HeatLimits:
    """Limits of the guard against overheating.

    Attributes:
        pause: temperature in degrees Celsius at which the run pauses.
        resume: temperature below which it continues.
        critical: temperature at which it stops, or None.
        poll_seconds: seconds between two readings.
    """

    pause: float = 90.0
    resume: float = 80.0
    critical: float | None = None
    poll_seconds: float = 30.0


class GpuCallback(TrainerCallback):
    """Logs readings of the GPU; pauses while it is too hot, saves and stops when it is critical.

    Every process reads its own GPU. The hottest decides: all processes pause until every GPU is cool, and
    stop together.

    Args:
        gpu: the GPU of this process; None where it cannot be read.
        limits: limits of the guard, or None for no guard.
        agreement: what all processes of the run decide alike.
        metrics: receives the numbers for the next line of the log.
        notify: is called with a line for the user.
        record: is called with an event for ``metrics.jsonl``.
        stopping: returns whether this process has to stop; called during a pause.
        others: other devices that the run may move to instead of pausing.
        sleep: waits for a number of seconds.
        clock: returns the time in seconds.

    Attributes:
        stopped_at: temperature at which the run stopped, or None.
        moving_to: device on which the run goes on, or None.
    """

    def __init__(
        self,
        gpu: Gpu | None,
        limits: HeatLimits | None,
        *,
        agreement: Agreement,
        metrics: dict[str, float],
        notify: Callable[[str], None],
        record: Callable[[Mapping[str, Any]], None] = lambda event: None,
        stopping: Callable[[], bool] = lambda: False,
        others: Mapping[torch.device, Gpu] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gpu = gpu
        self.limits = limits or HeatLimits(pause=float("inf"))
        self.agreement = agreement
        self.metrics = metrics
        self.notify = notify
        self.record = record
        self.stopping = stopping
        self.others = dict(others or {})
        self.sleep = sleep
        self.clock = clock
        self.stopped_at: float | None = None
        self.moving_to: torch.device | None = None
        self._heat = COOL
        self._celsius = 0.0
        self._last_reading = -float("inf")
        agreement.watch("heat", lambda: self._heat)
        agreement.watch("celsius", lambda: self._celsius)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Read the GPU when it is time."""
        if self.clock() - self._last_reading >= self.limits.poll_seconds:
            self._read(above=self.limits.pause)

    def on_agreed(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Pause, move or stop when any GPU of the run is too hot."""
        heat, celsius = self.agreement.agreed("heat"), self.agreement.agreed("celsius")
        if heat == HOT and not control.should_training_stop:
            if (there := self._cool_device()) is not None:
                self.moving_to = there
                self.notify(f"GPU at {celsius:.0f} C: continuing on {there}")
                self.record({"event": "moved", "step": state.global_step, "reason": f"{celsius:.0f} C"})
                control.should_save = control.should_training_stop = True
            else:
                heat, celsius = self._pause(celsius, state.global_step)
        if heat == CRITICAL and self.stopped_at is None:
            self.stopped_at = celsius
            self.notify(f"GPU at {celsius:.0f} C, which is critical: saving a checkpoint and stopping")
            control.should_save = control.should_training_stop = True
        self._heat = COOL

    def _cool_device(self) -> torch.device | None:
        """Return the coolest other device, or None if there is none below the temperature to resume at."""
        found = {device: gpu.read().celsius for device, gpu in self.others.items()}
        coolest = min(found, key=lambda device: found[device], default=None)
        return coolest if coolest is not None and found[coolest] < self.limits.resume else None

    def _pause(self, celsius: float, step: int) -> tuple[float, float]:
        """Wait until all GPUs are cool, one is critical, or a process has to stop; return the highest."""
        advice = self.gpu.advice() if self.gpu is not None else ""
        self.notify(
            f"GPU at {celsius:.0f} C: paused until it is below {self.limits.resume:.0f} C"
            f"{f' ({advice})' if advice else ''}"
        )
        began, hottest, heat = self.clock(), celsius, HOT
        while heat == HOT:
            if self._wait():
                heat = COOL  # the guard need not stop a run that stops anyway
                break
            self._read(above=self.limits.resume)
            heat, celsius = self.agreement.largest(self._heat, self._celsius)
            hottest = max(hottest, celsius)
            if heat == COOL:
                self.notify(f"GPU at {celsius:.0f} C: continuing")
        seconds = round(self.clock() - began)
        reason = f"a GPU at {hottest:.0f} C"
        self.record({"event": "pause", "step": step, "reason": reason, "seconds": seconds})
        return heat, celsius

    def _wait(self) -> bool:
        """Wait for the next reading; return whether a process has to stop."""
        left = self.limits.poll_seconds
        while left > 0:
            if self.agreement.largest(float(self.stopping()))[0]:
                return True
            self.sleep(min(SLICE, left))
            left -= SLICE
        return False

    def _read(self, *, above: float) -> None:
        """Read the GPU; it is hot from this temperature on."""
        self._last_reading = self.clock()
        if self.gpu is None:
            return
        reading = self.gpu.read()
        self._celsius = reading.celsius
        critical = self.limits.critical
        if critical is not None and reading.celsius >= critical:
            self._heat = CRITICAL
        else:
            self._heat = HOT if reading.celsius >= above else COOL
        self.metrics.update({f"gpu_{k}": v for k, v in attrs.asdict(reading).items() if v == v})
