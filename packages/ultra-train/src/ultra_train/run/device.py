"""The device and the precision of a run, and checks of what this machine supports."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    get_available_reporting_integrations,
)

from ultra_core.errors import UltraError, did_you_mean, listed
from ultra_train.config.integrations import reporters
from ultra_train.config.training import TrainingConfig
from ultra_train.hf.compilation import check_compiler
from ultra_train.hf.precision import DTYPE_NAMES
from ultra_train.system.processes import Processes


def pick_device(wanted: str | None, here: Processes) -> torch.device:
    """Return the requested device, or the best one of this machine; each process has a GPU of its own.

    Args:
        wanted: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; None for the best.
        here: this process.

    Raises:
        UltraError: this machine does not have the device, or not for every process.
    """
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    there = [*cuda, *mps, "cpu"]
    if here.several and wanted not in (None, "cpu", "cuda"):
        raise UltraError(
            f"--device {wanted} is one device, and this run has {here.count} processes; with cuda each takes "
            "the GPU of its number, with cpu all share the processor"
        )
    if cuda and (wanted == "cuda" or (wanted is None and here.several)):
        wanted = f"cuda:{here.local_rank}"
        if wanted not in cuda:
            raise UltraError(
                f"this machine has {len(cuda)} GPUs for {here.local_count} processes; start as many "
                "as it has (--nproc-per-node), or train on the processor with --device cpu"
            )
    if wanted is None:
        return torch.device(there[0])
    if wanted not in there:
        raise UltraError(f"device {wanted!r} is not on this machine; it has: {listed(there)}")
    return torch.device(wanted)


def pick_precision(training: TrainingConfig, device: torch.device) -> str:
    """Return fp32, bf16 or fp16: what the preset names, or with ``use_amp`` what suits the device."""
    if training.precision is not None or not training.use_amp:
        return training.precision or "fp32"
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "fp16"
    return "bf16"


def has_tf32(device: torch.device) -> bool:
    """Whether a device has tensor cores that multiply fp32 numbers in TF32."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def devices_to_switch_to(
    training: TrainingConfig, device: torch.device, here: Processes
) -> tuple[torch.device, ...]:
    """Return the devices on which a run may go on when its own is too hot (``switch_on_thermal``)."""
    if not training.switch_on_thermal or here.several or device.type != "cuda":
        return ()
    return tuple(
        torch.device("cuda", i) for i in range(torch.cuda.device_count()) if i != (device.index or 0)
    )


def idle_keys(training: TrainingConfig, device: torch.device, here: Processes) -> Iterator[str]:
    """Yield a notice for every key that has no effect on a device."""
    if training.switch_on_thermal and not devices_to_switch_to(training, device, here):
        why = "there is no other GPU to go on with"
        if here.several:
            why = "every process has a GPU of its own"
        yield f"training.switch_on_thermal has no effect: {why}; the run pauses while a GPU is too hot"
    if training.tf32 and not has_tf32(device):
        yield f"training.tf32 has no effect: {describe_device(device)} has no TF32"


def check_machine(training: TrainingConfig, device: torch.device) -> None:
    """Refuse what this machine does not support, before any data is read.

    Raises:
        UltraError: fp16 without a GPU, no compiler for ``compile``, or a logging integration that is unknown
            or not installed.
    """
    if training.compile:
        check_compiler(device)
    if pick_precision(training, device) == "fp16" and device.type == "cpu":
        raise UltraError("training.precision fp16 needs a GPU; use bf16 or fp32 on a CPU")
    known = {"none", "all", *INTEGRATION_TO_CALLBACK}
    for name in reporters(training.report_to):
        if name not in known:
            raise UltraError(
                f"training.report_to: {name!r} is none of {listed(sorted(known))}.{did_you_mean(name, known)}"
            )
        if name in known - {"none", "all", *get_available_reporting_integrations()}:
            raise UltraError(
                f"training.report_to: {name!r} is not installed; install its package, or leave it out"
            )


def describe_device(device: torch.device) -> str:
    """Return a description of the device."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} ({device})"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"CPU with {threads} thread{'s' if threads > 1 else ''}"
    return str(device)


def describe_model(model: nn.Module, precision: str) -> str:
    """Return a description of the size and precision of a model."""
    parameters = list(model.parameters())
    held = {DTYPE_NAMES.get(p.dtype, str(p.dtype).removeprefix("torch.")) for p in parameters}
    autocast = "" if precision == "fp32" else f", computed in {precision} (autocast)"
    return f"{sum(p.numel() for p in parameters):,} parameters in {' and '.join(sorted(held))}{autocast}"
