"""The declaration that tasks inherit from which fine-tune a base model; it imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import attrs

from ultra_train.config.integrations import reports_to
from ultra_train.config.preset import PresetFile
from ultra_train.config.task_declaration import Faults, OwnOptimizer
from ultra_train.config.training import TrainingConfig
from ultra_train.system.files import expand_user
from ultra_train.tasks.base import Task
from ultra_train.tasks.fine_tuning.keys import DISPLACED, run_keys

SYNONYMS: dict[str, str] = {
    "learning_rate": "lr base_lr",
    "batch_size": (
        "per_device_train_batch_size per_device_eval_batch_size train_batch_size eval_batch_size "
        "micro_batch_size"
    ),
    "epochs": "num_train_epochs num_epochs max_epochs n_epochs",
    "warmup_steps": "warmup_ratio num_warmup_steps warmup scheduler_warmup_ratio",
    "evaluation_steps": "eval_steps eval_every_n_steps evaluation_strategy eval_strategy",
    "checkpoint_save_steps": "save_steps checkpoint_every_n_steps save_strategy",
    "max_grad_norm": "grad_clip_max_norm gradient_clip_val clip_grad_norm",
    "max_seq_length": "max_length max_seq_len model_max_length max_len",
    "max_train_samples": "max_samples",
    "use_amp": "fp16 bf16 precision mixed_precision amp use_fp16 use_bf16",
    "output_dir": "hf_output_dir",
}
"""Names that other tools have for the keys of fine-tuning."""


def synonyms_in(section: str) -> dict[str, str]:
    """Return the other names of the keys of fine-tuning in a section of ``training``."""
    return {f"training.{section}.{name}": others for name, others in SYNONYMS.items()}


FINE_TUNING_TWIN: Mapping[str, Any] = {
    "output_dir": None,
    "batch_size": 4,
    "epochs": 1,
    "warmup_steps": 1,
    "evaluation_steps": 4,
    "checkpoint_save_steps": 2,
    "resume_from_checkpoint": None,
    "max_train_samples": 64,
    "max_eval_samples": 8,
    "max_seq_length": 16,
}
"""The keys of fine-tuning in the tiny twin of a preset."""


class FineTuningTask(Task):
    """Fine-tunes a base model with the keys of a section of its own."""

    reads_dataset: ClassVar[bool] = False
    counts_epochs: ClassVar[bool] = True
    own_optimizer: ClassVar[OwnOptimizer] = OwnOptimizer(key="optimizer", learning_rate="learning_rate")

    def rules(self, options: Any, preset: PresetFile) -> Faults:
        """Yield what a preset lacks, and what in it does not fit together."""
        if options is None:
            yield self.path, f"the task {self.name} needs the section {'.'.join(self.path)}"
        if preset.base_model is None:
            yield ("base_model",), f"the task {self.name} needs base_model, a hub id or path"
        if preset.training.distributed == "fsdp":
            yield (
                ("training", "distributed"),
                f"the task {self.name} trains with ddp, where every process holds the whole model",
            )

    def missing(self, options: Any) -> Faults:
        """Yield a fault for a checkpoint that is not on this machine."""
        checkpoint = options.resume_from_checkpoint
        if isinstance(checkpoint, str) and not expand_user(checkpoint).is_dir():
            yield (*self.path, "resume_from_checkpoint"), f"there is no checkpoint {checkpoint}"

    def idle_keys(self, options: Any, preset: PresetFile) -> Iterator[str]:
        """Yield the options without effect, and the keys of ``training`` that the section replaces."""
        if options.wandb_project and not reports_to("wandb", preset.training.report_to):
            yield ".".join((*self.path, "wandb_project"))
        if preset.training.task.rpartition(":")[2] == self.name:
            defaults = attrs.fields_dict(TrainingConfig)
            yield from (
                f"training.{name}"
                for name in DISPLACED
                if getattr(preset.training, name) != defaults[name].default
            )

    def training_keys(self, preset: Any) -> TrainingConfig:
        """Return the keys of a run, with those of the section in the place of their counterparts."""
        return run_keys(preset.training, self.given_options(preset))

    def resumes(self, preset: Any) -> bool | str:
        """Return what ``resume_from_checkpoint`` says."""
        return self.given_options(preset).resume_from_checkpoint or False
