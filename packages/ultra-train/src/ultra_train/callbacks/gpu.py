"""What the GPU says of itself, and the guard against heat."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import attrs
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


@attrs.frozen
class Reading:
    """One look at a GPU: temperature in degrees Celsius, power in watts, busy share and used memory in GB."""

    celsius: float
    watts: float = float("nan")
    busy: float = float("nan")
    memory_gb: float = float("nan")


class Gpu(Protocol):
    """Something that can be read."""

    def read(self) -> Reading:
        """Return the present state."""
        ...


class Nvml:
    """A GPU through NVIDIA's management library.

    Args:
        index: which GPU of the machine.

    Raises:
        OSError: there is no such GPU, or no driver.
    """

    def __init__(self, index: int) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
            self._library: Any = pynvml
            self._handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        except Exception as error:  # NVMLError has no public base that is always importable
            raise OSError(f"no GPU {index} that NVML can read ({error})") from error

    def read(self) -> Reading:
        """Return the present state."""
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
        except self._library.NVMLError:  # not every GPU measures everything
            return float("nan")


@attrs.frozen(kw_only=True)
class HeatLimits:
    """Temperatures in degrees Celsius at which a run pauses, goes on, and stops; seconds between looks."""

    pause: float = 90.0
    resume: float = 80.0
    critical: float | None = None
    poll_seconds: float = 30.0


class GpuCallback(TrainerCallback):
    """Logs the GPU's state; pauses while it is too hot, saves and stops when it is critical.

    Args:
        gpu: what is read.
        limits: the guard's temperatures, or None for no guard.
        extra: where the numbers for the next line of the log go.
        say: prints a line.
        stopping: asked during a pause whether the run is to stop.
        sleep: waits (seconds).
        clock: seconds now.
    """

    def __init__(
        self,
        gpu: Gpu,
        limits: HeatLimits | None,
        *,
        extra: dict[str, float],
        say: Callable[[str], None],
        stopping: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gpu = gpu
        self.limits = limits
        self.extra = extra
        self.say = say
        self.stopping = stopping
        self.sleep = sleep
        self.clock = clock
        self.stopped_at: float | None = None
        self._looked = -float("inf")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look at the GPU when it is time, and act."""
        limits = self.limits or HeatLimits(pause=float("inf"))
        if self.clock() - self._looked < limits.poll_seconds:
            return
        reading = self._read()
        if limits.pause <= reading.celsius and not self._critical(reading, limits):
            reading = self._cooled(reading, limits)
        if self._critical(reading, limits):
            self.stopped_at = reading.celsius
            self.say(f"GPU at {reading.celsius:.0f} C, which is critical: saving a checkpoint and stopping")
            control.should_save = control.should_training_stop = True

    def _critical(self, reading: Reading, limits: HeatLimits) -> bool:
        return limits.critical is not None and reading.celsius >= limits.critical

    def _cooled(self, reading: Reading, limits: HeatLimits) -> Reading:
        """Wait until the GPU is cool, critical, or nobody wants to wait any more."""
        self.say(f"GPU at {reading.celsius:.0f} C: paused until it is below {limits.resume:.0f} C")
        while limits.resume <= reading.celsius and not self._critical(reading, limits):
            if self.stopping():
                return reading
            self.sleep(limits.poll_seconds)
            reading = self._read()
        if not self._critical(reading, limits):
            self.say(f"GPU at {reading.celsius:.0f} C: going on")
        return reading

    def _read(self) -> Reading:
        reading = self.gpu.read()
        self._looked = self.clock()
        self.extra.update({f"gpu_{k}": v for k, v in attrs.asdict(reading).items() if v == v})
        return reading
