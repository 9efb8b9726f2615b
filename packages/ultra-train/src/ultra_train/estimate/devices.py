"""Devices that runs are estimated for: their memory and their peak rates."""

from __future__ import annotations

import time
from collections.abc import Mapping

import attrs
import torch

from ultra_core.errors import UltraError, did_you_mean, listed

MIB = 2**20
UTILISATION = 0.4
"""Share of the peak rate that training of an encoder of this size reaches; large models reach half."""

CONTEXT = 600 * MIB
"""What the driver, the libraries and their kernels take on a GPU beside all tensors."""

PROCESS = 700 * MIB
"""What the interpreter and the libraries take on a CPU beside all tensors."""

FRAGMENTATION = 0.06
"""Share of the peak that the allocator of a GPU holds without using it."""


@attrs.frozen(kw_only=True)
class Device:
    """A device.

    Attributes:
        name: as it is given on the command line.
        title: as its maker calls it.
        kind: ``cpu`` or ``cuda``.
        memory: usable bytes; None if unknown.
        rates: operations a second by precision, dense, a multiply-add counted as two.
        measured: whether the rates are those of this machine, now.
    """

    name: str
    title: str
    kind: str = "cuda"
    memory: int | None = None
    rates: Mapping[str, float] = attrs.field(factory=dict)
    measured: bool = False

    def seconds(self, flops: int, precision: str) -> float | None:
        """Return the time that matrix products take at the usual utilisation, or None without a rate."""
        rate = self.rates.get(precision)
        return None if not rate else flops / (rate * UTILISATION)

    def allowance(self, peak: int) -> int:
        """Return what the process takes on the device beside its tensors."""
        return PROCESS if self.kind == "cpu" else CONTEXT + round(FRAGMENTATION * peak)


def _gpu(name: str, title: str, mib: int, **teraflops: float) -> Device:
    rates = {precision: value * 1e12 for precision, value in teraflops.items()}
    return Device(name=name, title=title, memory=mib * MIB, rates=rates)


GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("p40", "NVIDIA Tesla P40", 22_919, fp32=11.8, fp16=0.18),
        _gpu("rtx3090", "NVIDIA GeForce RTX 3090", 24_576, fp32=35.6, fp16=71, bf16=71),
        _gpu("rtx4090", "NVIDIA GeForce RTX 4090", 24_564, fp32=82.6, fp16=165, bf16=165),
        _gpu("a100", "NVIDIA A100 80GB", 81_920, fp32=19.5, fp16=312, bf16=312),
        _gpu("h100", "NVIDIA H100 SXM", 81_559, fp32=66.9, fp16=989, bf16=989),
        _gpu("h200", "NVIDIA H200", 143_771, fp32=66.9, fp16=989, bf16=989),
    )
}
"""GPUs by name, with the memory that is left under error correction, and the peak rates of their makers."""


def find_device(name: str | None) -> Device:
    """Return a device by its name; None: the GPU of this machine, or its CPU.

    Raises:
        UltraError: no such device is known.
    """
    if name is None:
        return this_gpu() or this_cpu()
    key = name.lower().replace(" ", "").replace("-", "").replace("_", "")
    if key == "cpu":
        return this_cpu()
    if key in GPUS:
        return GPUS[key]
    known = ["cpu", *GPUS]
    raise UltraError(
        f"the device {name!r} is not known; choose one of {listed(known)}.{did_you_mean(key, known)}"
    )


def this_gpu() -> Device | None:
    """Return the first GPU of this machine, with the rates of its model if they are known; else None."""
    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    title = properties.name
    model = title.lower().replace(" ", "").replace("-", "")
    known = next((gpu for gpu in GPUS.values() if gpu.name in model), None)
    rates = {} if known is None else known.rates
    return Device(name="cuda", title=title, memory=properties.total_memory, rates=rates)


def this_cpu() -> Device:
    """Return the CPU of this machine with its free memory; its rate is only known by measuring."""
    import psutil

    memory = psutil.virtual_memory().available
    return Device(name="cpu", title="this machine's CPU", kind="cpu", memory=memory)


def measured(device: Device, seconds: float = 0.5) -> Device:
    """Return the CPU of this machine with the rate of its matrix products in fp32, measured now.

    Raises:
        UltraError: the device is not the CPU of this machine.
    """
    if device.kind != "cpu":
        raise UltraError(f"--measure measures the CPU of this machine, not {device.title}; add --device cpu")
    size = 1024
    a, b = torch.randn(size, size), torch.randn(size, size)
    a @ b
    count, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds:
        a @ b
        count += 1
    return attrs.evolve(device, rates={"fp32": 2 * size**3 * count / taken}, measured=True)
