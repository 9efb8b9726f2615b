"""Telemetry of the GPU, and the guard against overheating."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import attrs
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


@attrs.frozen
class Reading:
    """A reading of a GPU.

    Attributes:
        celsius: temperature in degrees Celsius.
        watts: power draw in watts.
        busy: utilisation, from 0 to 1.
        memory_gb: used memory in GB.
    """

    celsius: float
    watts: float = float("nan")
    busy: float = float("nan")
    memory_gb: float = float("nan")


class Gpu(Protocol):
    """A GPU that can be read."""

    def read(self) -> Reading:
        """Return the present reading."""
        ...


class Nvml:
    """A GPU, read through NVIDIA's management library.

    Args:
        index: index of the GPU.

    Raises:
        OSError: there is no such GPU or no driver.
    """

    def __init__(self, index: int) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
            self._library: Any = pynvml
            self._handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        except Exception as error:  # NVMLError cannot always be imported
            raise OSError(f"no GPU {index} that NVML can read ({error})") from error

    def read(self) -> Reading:
        """Return the present reading."""
        library, handle = self._library, self._handle
        return Reading(
            celsius=float(library.nvmlDeviceGetTemperature(handle, library.NVML_TEMPERATURE_GPU)),
            watts=self._optional(lambda: library.nvmlDeviceGetPowerUsage(handle) / 1000),
            busy=self._optional(lambda: library.nvmlDeviceGetUtilizationRates(handle).gpu / 100),
            memory_gb=self._optional(lambda: library.nvmlDeviceGetMemoryInfo(handle).used / 1e9),
        )

    def _optional(self, measure: Callable[[], float]) -> float:
        try:
            return float(measure())
        except self._library.NVMLError:  # not every GPU has every sensor
            return float("nan")


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

    Args:
        gpu: the GPU.
        limits: limits of the guard, or None for no guard.
        metrics: receives the numbers for the next line of the log.
        notify: is called with a line for the user.
        stopping: returns whether the run is to stop; called during a pause.
        sleep: waits for a number of seconds.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        gpu: Gpu,
        limits: HeatLimits | None,
        *,
        metrics: dict[str, float],
        notify: Callable[[str], None],
        stopping: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gpu = gpu
        self.limits = limits
        self.metrics = metrics
        self.notify = notify
        self.stopping = stopping
        self.sleep = sleep
        self.clock = clock
        self.stopped_at: float | None = None
        self._last_reading = -float("inf")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Read the GPU when it is time, and pause or stop the run when it is too hot."""
        limits = self.limits or HeatLimits(pause=float("inf"))
        if self.clock() - self._last_reading < limits.poll_seconds:
            return
        reading = self._read()
        if limits.pause <= reading.celsius and not self._critical(reading, limits):
            reading = self._wait_until_cool(reading, limits)
        if self._critical(reading, limits):
            self.stopped_at = reading.celsius
            self.notify(
                f"GPU at {reading.celsius:.0f} C, which is critical: saving a checkpoint and stopping"
            )
            control.should_save = control.should_training_stop = True

    def _critical(self, reading: Reading, limits: HeatLimits) -> bool:
        return limits.critical is not None and reading.celsius >= limits.critical

    def _wait_until_cool(self, reading: Reading, limits: HeatLimits) -> Reading:
        """Wait until the GPU is cool or critical, or the run is to stop."""
        self.notify(f"GPU at {reading.celsius:.0f} C: paused until it is below {limits.resume:.0f} C")
        while limits.resume <= reading.celsius and not self._critical(reading, limits):
            if self.stopping():
                return reading
            self.sleep(limits.poll_seconds)
            reading = self._read()
        if not self._critical(reading, limits):
            self.notify(f"GPU at {reading.celsius:.0f} C: continuing")
        return reading

    def _read(self) -> Reading:
        reading = self.gpu.read()
        self._last_reading = self.clock()
        self.metrics.update({f"gpu_{k}": v for k, v in attrs.asdict(reading).items() if v == v})
        return reading
