"""From a preset to transformers' ``TrainingArguments``, and the device a run uses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn
from transformers import TrainingArguments
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    get_available_reporting_integrations,
)

from ultra_core.errors import UltraError, did_you_mean, listed
from ultra_train.config.integrations import reporters
from ultra_train.config.training import TrainingConfig
from ultra_train.hf.precision import DTYPE_NAMES


def pick_device(wanted: str | None) -> torch.device:
    """Return the device that was asked for, or the best there is.

    Raises:
        UltraError: this machine has not got it.
    """
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    there = [*cuda, *mps, "cpu"]
    if wanted is None:
        return torch.device(
            f"cuda:{os.environ['LOCAL_RANK']}" if cuda and "LOCAL_RANK" in os.environ else there[0]
        )
    if wanted == "cuda" and cuda:
        return torch.device("cuda:0")
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


def check_machine(training: TrainingConfig, device: torch.device) -> None:
    """Refuse what this machine cannot do, before any data is read.

    Raises:
        UltraError: fp16 without a GPU, or a logging integration that transformers has not or that is not
            installed.
    """
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


def training_arguments(
    training: TrainingConfig, *, device: torch.device, folder: Path, max_steps: int, evaluates: bool
) -> TrainingArguments:
    """Return the arguments of the trainer; what ultra does itself is switched off in them.

    Args:
        training: keys of the preset.
        device: where it trains.
        folder: folder of the checkpoints.
        max_steps: updates of the run.
        evaluates: whether there are held-out texts.
    """
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    precision = pick_precision(training, device)
    every = training.eval_every_n_steps or training.checkpoint_every_n_steps
    arguments: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": max_steps,
        "per_device_train_batch_size": training.batch_size,
        "gradient_accumulation_steps": training.gradient_accumulation_steps,
        "max_grad_norm": training.grad_clip_max_norm,
        "logging_steps": min(training.telemetry_log_interval, max_steps),
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": training.checkpoint_every_n_steps,
        "eval_strategy": "steps" if evaluates else "no",
        "eval_steps": every if evaluates else None,
        "seed": training.seed,
        "use_cpu": device.type == "cpu",
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "torch_compile": training.compile,
        "report_to": [name for name in reporters(training.report_to) if name != "tensorboard"],
        "disable_tqdm": True,
        "ignore_data_skip": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
    }
    known = {field.name for field in TrainingArguments.__dataclass_fields__.values()}
    recompute = (
        "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    )
    arguments[recompute] = training.activation_checkpointing
    made = TrainingArguments(**arguments)
    made._n_gpu = min(1, made.n_gpu)  # several GPUs are for torchrun, not for DataParallel
    return made


def describe_device(device: torch.device) -> str:
    """Return the device in words."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} ({device})"
    if device.type == "cpu":
        return f"CPU with {torch.get_num_threads()} threads"
    return str(device)


def describe_model(model: nn.Module, precision: str) -> str:
    """Return size and precision of a model in words."""
    parameters = list(model.parameters())
    held = {DTYPE_NAMES.get(p.dtype, str(p.dtype).removeprefix("torch.")) for p in parameters}
    autocast = "" if precision == "fp32" else f", computed in {precision} (autocast)"
    return f"{sum(p.numel() for p in parameters):,} parameters in {' and '.join(sorted(held))}{autocast}"


def changed_keys(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted keys whose values differ between two presets as plain data."""
    found = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += changed_keys(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key}")
    return found


@attrs.frozen(kw_only=True)
class Rate:
    """Real tokens and seconds of the updates of a run, all of its parts together, for its closing line."""

    tokens: int
    seconds: float

    def __str__(self) -> str:
        rate = self.tokens / max(self.seconds, 1e-9)
        return f"{self.tokens:,} tokens in {self.seconds:.0f} s ({rate:,.0f} a second)"
