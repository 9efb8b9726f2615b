"""From the keys of a preset to transformers' ``TrainingArguments``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import TrainingArguments

from ultra_train.config.integrations import reporters
from ultra_train.config.training import TrainingConfig
from ultra_train.run.device import has_tf32, pick_precision


def training_arguments(
    training: TrainingConfig,
    *,
    device: torch.device,
    folder: Path,
    max_steps: int,
    evaluates: bool,
    kind: type[TrainingArguments] = TrainingArguments,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> TrainingArguments:
    """Return the arguments of the trainer; what ultra does itself is switched off in them.

    Args:
        training: keys of the preset.
        device: where it trains.
        folder: folder of the checkpoints.
        max_steps: updates of the run.
        evaluates: whether there are held-out texts.
        kind: the class of the arguments.
        more: further arguments that this class has.
    """
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
        "run_name": training.run_name,
        "use_cpu": device.type == "cpu",
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "tf32": training.tf32 if has_tf32(device) else None,
        "report_to": [name for name in reporters(training.report_to) if name != "tensorboard"],
        "disable_tqdm": True,
        "ignore_data_skip": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        **more,
    }
    known = {field.name for field in TrainingArguments.__dataclass_fields__.values()}
    recompute = (
        "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    )
    arguments[recompute] = training.activation_checkpointing
    arguments[f"{recompute}_kwargs"] = {"use_reentrant": False}
    made = kind(**arguments)
    made._n_gpu = min(1, made.n_gpu)  # several GPUs are for torchrun, not for DataParallel
    if device.type == "cuda" and device.index is not None and made.world_size == 1:
        made.__dict__["_setup_devices"] = device  # transformers has taken the first GPU
        torch.cuda.set_device(device)
    return made
