"""The keys of fine-tuning a finished model, which several tasks have in their sections."""

from __future__ import annotations

import attrs

from ultra_train.config.keys import Count, Natural, NonNegative, Positive, key
from ultra_train.config.optimizer import OptimizerConfig


@attrs.frozen(kw_only=True, slots=False)
class FineTuningKeys:
    """How long and with what a base model is trained; the section of a task inherits them."""

    output_dir: str | None = key(None, "folder of the finished model; model/ in the folder of the run")
    batch_size: Count = key(16, "rows in a forward pass")
    gradient_accumulation_steps: Count = key(1, "forward passes in an update")
    max_grad_norm: NonNegative = key(1.0, "global norm to which gradients are clipped")
    epochs: Count = key(1, "passes over the data")
    warmup_steps: Natural = key(0, "updates that warm up")
    evaluation_steps: Natural = key(0, "updates between evaluations; 0 for one an epoch")
    checkpoint_save_steps: Natural = key(0, "updates between checkpoints; 0 for one an epoch")
    resume_from_checkpoint: str | bool | None = key(None, "checkpoint to resume from; true: the newest")
    learning_rate: Positive = key(2e-5, "learning rate when no optimizer section gives one")
    max_train_samples: Count | None = key(None, "most rows of a data set that are trained on")
    max_eval_samples: Count | None = key(None, "most rows of a data set that are evaluated on")
    max_seq_length: Count | None = key(None, "tokens in a text; the model's own limit when left out")
    trust_remote_code: bool = key(False, "run code that comes with the base model")
    use_amp: bool = key(False, "mixed precision")
    wandb_project: str | None = key(None, "project of Weights & Biases, where report_to names wandb")
    optimizer: OptimizerConfig | None = key(None, "optimizer plugin and its parameters")
