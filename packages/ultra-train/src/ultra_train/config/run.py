"""Keys of ``training`` about the run: steps, schedule, clipping, checkpoints, precision, reports."""

from __future__ import annotations

from typing import Literal

import attrs

from ultra_train.config.keys import Count, Fraction, NonNegative, Positive, key


@attrs.frozen(kw_only=True, slots=False)
class ScheduleKeys:
    """How long a run is and how its learning rates move; it ends at the first limit it meets."""

    scheduler_type: str = key("cosine", "name of a schedule plugin")
    scheduler_total_steps: Count = key(10_000, "updates over which the schedule runs")
    scheduler_warmup_ratio: Fraction = key(0.1, "share of them that warms up")
    max_steps: Count | None = key(
        None, "the run ends after this many updates; scheduler_total_steps when left out"
    )
    num_epochs: Count | None = key(None, "the run ends after this many passes over the data")
    gradient_accumulation_steps: Count = key(4, "forward passes in an update")
    grad_clip_max_norm: NonNegative = key(
        5.0, "global norm to which gradients are clipped; 0 for no clipping"
    )


@attrs.frozen(kw_only=True, slots=False)
class CheckpointKeys:
    """What is kept of a run, and when it is evaluated."""

    checkpoint_every_n_steps: Count = key(500, "updates between checkpoints")
    max_rolling_checkpoints: Count = key(3, "newest checkpoints that are kept")
    num_best_checkpoints: Count = key(2, "best checkpoints that are kept")
    eval_every_n_steps: Count | None = key(
        None, "updates between evaluations; checkpoint_every_n_steps when left out"
    )
    best_metric: str = key("eval_loss", "metric that says which checkpoint is best")
    hf_output_dir: str | None = key(None, "folder of the finished model; model/ in the folder of the run")
    storage_budget_gb: Positive | None = key(None, "disk space that the run may take")
    push_to_hub: bool = key(False, "upload the finished model", later=True)
    hub_model_id: str | None = key(None, "where to", later=True)


@attrs.frozen(kw_only=True, slots=False)
class ComputeKeys:
    """How it is computed."""

    use_amp: bool = key(False, "mixed precision: bf16 where the device has it, else fp16")
    precision: Literal["fp32", "bf16", "fp16"] | None = key(
        None, "the same, naming the type; what weights are held in is weights_dtype"
    )
    weights_dtype: Literal["fp32", "bf16"] = key(
        "fp32", "precision that the trained weights are held in, whatever a base model is saved in"
    )
    save_dtype: Literal["fp32", "bf16", "fp16"] | None = key(
        None, "precision of the finished model's files; that of the base model, or weights_dtype, if left out"
    )
    compile: bool = key(False, "torch.compile the model")
    activation_checkpointing: bool = key(False, "recompute activations in the backward pass to save memory")
    distributed: Literal["ddp", "fsdp", "deepspeed"] | None = key(
        None, "strategy under torchrun or accelerate; ddp when left out", later=True
    )


@attrs.frozen(kw_only=True, slots=False)
class ReportKeys:
    """What a run tells."""

    report_to: str | tuple[str, ...] | None = key(
        ("tensorboard",), "logging integrations of transformers; null: none"
    )
    csv_log_path: str | None = key(None, "table of every step")
    csv_rotate_on_schema_change: bool = key(True, "start another table when its columns change")
    log_gradient_stats: bool = key(True, "log statistics of gradients")
    gradient_log_interval: Count = key(10, "updates between them")
    enable_block_grad_norms: bool = key(False, "log the gradient norm of every block")
    telemetry_log_interval: Count = key(10, "updates between costly measurements")
    gpu_metrics_backend: Literal["nvml", "none"] = key("nvml", "where GPU measurements come from")
    nvml_device_index: int = key(0, "which GPU of the machine is measured")
