"""Reading a GPU through NVIDIA's management library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs
import torch

SLOWDOWNS = {
    "SwThermalSlowdown": "heat (software)",
    "HwThermalSlowdown": "heat (hardware)",
    "HwSlowdown": "a hardware slowdown",
    "HwPowerBrakeSlowdown": "the power supply",
    "SwPowerCap": "the power limit",
}
"""Reasons of NVML for low clocks, as far as they concern heat and power, and their names in messages."""
_COOLER = 0.8
"""Share of the present power limit that messages suggest; most GPUs lose little speed with it."""


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

    def advice(self) -> str:
        """Return what slows it down and what would keep it cooler, for the line about a pause."""
        ...


class Nvml:
    """A GPU, read through NVIDIA's management library.

    Args:
        index: index of the GPU, as ``nvidia-smi`` counts, or its UUID.

    Raises:
        OSError: there is no such GPU or no driver.
    """

    def __init__(self, index: int | str) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
            self._library: Any = pynvml
            by_uuid = isinstance(index, str)
            find = pynvml.nvmlDeviceGetHandleByUUID if by_uuid else pynvml.nvmlDeviceGetHandleByIndex
            self._handle = find(index)
        except Exception as error:  # NVMLError cannot always be imported
            raise OSError(f"no GPU {index} that NVML can read ({error})") from error

    @classmethod
    def of_device(cls, device: torch.device) -> Nvml:
        """Return the GPU behind a device of torch, whose numbers ``CUDA_VISIBLE_DEVICES`` may change.

        Raises:
            OSError: NVML cannot read it.
        """
        uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
        return cls(device.index or 0) if uuid is None else cls(f"GPU-{uuid}")

    def read(self) -> Reading:
        """Return the present reading."""
        library, handle = self._library, self._handle
        return Reading(
            celsius=float(library.nvmlDeviceGetTemperature(handle, library.NVML_TEMPERATURE_GPU)),
            watts=self._optional(lambda: library.nvmlDeviceGetPowerUsage(handle) / 1000),
            busy=self._optional(lambda: library.nvmlDeviceGetUtilizationRates(handle).gpu / 100),
            memory_gb=self._optional(lambda: library.nvmlDeviceGetMemoryInfo(handle).used / 1e9),
        )

    def advice(self) -> str:
        """Return what slows the GPU down, as NVML measures it, and the command for a lower power limit."""
        library, handle = self._library, self._handle
        reasons = int(self._optional(lambda: library.nvmlDeviceGetCurrentClocksEventReasons(handle), 0))
        slowed = [said for name, said in SLOWDOWNS.items() if reasons & self._bit(name)]
        limit = self._optional(lambda: library.nvmlDeviceGetPowerManagementLimit(handle) / 1000)
        least = self._optional(lambda: library.nvmlDeviceGetPowerManagementLimitConstraints(handle)[0] / 1000)
        index = self._optional(lambda: library.nvmlDeviceGetIndex(handle), 0)
        parts = [f"its clocks are limited by {' and '.join(slowed)}"] if slowed else []
        if limit == limit:
            lower = max(_COOLER * limit, least if least == least else 0.0)
            command = f"nvidia-smi -i {index:.0f} -pl {lower:.0f}"
            parts.append(f"a power limit below {limit:.0f} W keeps it cooler: {command}")
        return "; ".join(parts)

    def _bit(self, name: str) -> int:
        return int(getattr(self._library, f"nvmlClocksEventReason{name}", 0))

    def _optional(self, measure: Callable[[], float], default: float = float("nan")) -> float:
        try:
            return float(measure())
        except (self._library.NVMLError, AttributeError):  # not every GPU and driver has every sensor
            return default
