"""From the keys of a sparse preset to those that every run has."""

from __future__ import annotations

from typing import Any

import attrs

from ultra_train.config.data import DatasetSource
from ultra_train.config.guards import GuardKeys
from ultra_train.config.training import TrainingConfig
from ultra_train.tasks.sparse.optimizer import complete_optimizer
from ultra_train.tasks.sparse.preset import SparseFile
from ultra_train.tasks.sparse.sections import SparseDataset, SparseTraining

UNLIMITED = 10**9
"""Stands for all checkpoints, and for updates that no run has."""

HELD_OUT = 0.01
"""Share of the rows that is held out of a data set whose split_ratio does not say."""

RENAMED = {
    "per_device_train_batch_size": "batch_size",
    "warmup_ratio": "scheduler_warmup_ratio",
    "max_grad_norm": "grad_clip_max_norm",
    "torch_compile": "compile",
    "logging_steps": "telemetry_log_interval",
    "dataloader_num_workers": "dataloader_workers",
}
"""Keys of sentence-transformers, each with the key of every run that means the same."""

SAME = (
    "gradient_accumulation_steps",
    "load_best_model_at_end",
    "greater_is_better",
    "early_stopping_patience",
    "early_stopping_threshold",
    "logging_dir",
    "push_to_hub",
    "hub_model_id",
    "hub_private_repo",
    "run_name",
    "report_to",
    "scheduler_type",
    "seed",
    "cache_dir",
    "storage_budget_gb",
    *(field.name for field in attrs.fields(GuardKeys)),
)
"""Keys that have the same name there."""


def lowered(preset: SparseFile) -> TrainingConfig:
    """Return the keys of every run that mean the same as those of a loaded sparse preset.

    What depends on the number of updates in an epoch is fitted when the data is there
    (``ultra_train.tasks.sparse.run``).
    """
    training, hardware = preset.training, preset.hardware
    keys: dict[str, Any] = {name: getattr(training, name) for name in SAME}
    keys |= {name: getattr(training, own) for own, name in RENAMED.items()}
    evaluates = training.eval_strategy != "no"
    saves = training.save_strategy == "steps"
    return TrainingConfig(
        task=preset.task,
        dataset=tuple(_sources(preset)),
        eval_fraction=HELD_OUT if evaluates else 0.0,
        optimizer=complete_optimizer(preset),
        max_steps=training.max_steps if training.max_steps > 0 else None,
        precision="fp16" if training.fp16 else "bf16" if training.bf16 else "fp32",
        tf32=hardware.tf32,
        activation_checkpointing=hardware.gradient_checkpointing,
        distributed="ddp" if hardware.distributed else None,
        checkpoint_every_n_steps=training.save_steps if saves else UNLIMITED,
        eval_every_n_steps=training.eval_steps,
        max_rolling_checkpoints=training.save_total_limit or UNLIMITED,
        num_best_checkpoints=1,
        best_metric=_metric(training),
        hub_strategy="end" if training.hub_strategy == "end" else "every_save",
        **keys,
    )


def _metric(training: SparseTraining) -> str:
    """Return the metric that ranks checkpoints, by its whole name."""
    name = training.metric_for_best_model or "eval_loss"
    return name if name.startswith("eval_") else f"eval_{name}"


def _sources(preset: SparseFile) -> list[DatasetSource]:
    """Return the data sets that are in use; those with a source of their own by their names."""
    return [
        DatasetSource(source=entry.source or name, name=name)
        for name, entry in preset.datasets.items()
        if isinstance(entry, SparseDataset) and entry.enabled
    ]
