from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from ultra_train.callbacks.nvml import Nvml


class NVMLError(Exception):
    """What the library raises where there is no sensor."""


def missing(*_):
    raise NVMLError("Not Supported")


def library(**changes):
    """A stand-in for the module ``pynvml`` with one GPU."""
    return SimpleNamespace(
        **{
            "NVMLError": NVMLError,
            "NVML_TEMPERATURE_GPU": 0,
            "nvmlClocksEventReasonSwThermalSlowdown": 0x20,
            "nvmlClocksEventReasonSwPowerCap": 0x4,
            "nvmlInit": lambda: None,
            "nvmlDeviceGetHandleByIndex": lambda index: f"index {index}",
            "nvmlDeviceGetHandleByUUID": lambda uuid: f"uuid {uuid}",
            "nvmlDeviceGetTemperature": lambda handle, kind: 91,
            "nvmlDeviceGetPowerUsage": lambda handle: 249_000,
            "nvmlDeviceGetUtilizationRates": missing,
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=12e9),
            "nvmlDeviceGetCurrentClocksEventReasons": lambda handle: 0x24,
            "nvmlDeviceGetPowerManagementLimit": lambda handle: 250_000,
            "nvmlDeviceGetPowerManagementLimitConstraints": lambda handle: (125_000, 250_000),
            "nvmlDeviceGetIndex": lambda handle: 1,
            **changes,
        }
    )


def nvml(monkeypatch, **changes):
    monkeypatch.setitem(sys.modules, "pynvml", library(**changes))
    return Nvml(1)


def test_a_sensor_that_is_missing_is_nan(monkeypatch):
    reading = nvml(monkeypatch).read()
    assert (reading.celsius, reading.watts, reading.memory_gb) == (91, 249, 12)
    assert reading.busy != reading.busy


def test_the_advice_names_the_measured_reason_and_a_command(monkeypatch):
    assert nvml(monkeypatch).advice() == (
        "its clocks are limited by heat (software) and the power limit; a power limit below 250 W keeps it "
        "cooler: nvidia-smi -i 1 -pl 200"
    )


def test_the_suggested_limit_is_one_that_the_gpu_takes(monkeypatch):
    found = nvml(monkeypatch, nvmlDeviceGetPowerManagementLimitConstraints=lambda handle: (230_000, 250_000))
    assert found.advice().endswith("-pl 230")


def test_a_gpu_that_tells_nothing_gets_no_advice(monkeypatch):
    found = nvml(
        monkeypatch,
        nvmlDeviceGetCurrentClocksEventReasons=missing,
        nvmlDeviceGetPowerManagementLimit=missing,
    )
    assert found.advice() == ""


@pytest.mark.parametrize(("uuid", "handle"), [("ab-1", "uuid GPU-ab-1"), (None, "index 2")])
def test_the_gpu_of_a_device_is_found_whatever_its_number(monkeypatch, uuid, handle):
    properties = SimpleNamespace() if uuid is None else SimpleNamespace(uuid=uuid)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setitem(sys.modules, "pynvml", library())
    assert Nvml.of_device(torch.device("cuda", 2))._handle == handle


def test_a_gpu_that_is_not_there_is_an_oserror():
    with pytest.raises(OSError, match="no GPU 4711"):
        Nvml(4711)
