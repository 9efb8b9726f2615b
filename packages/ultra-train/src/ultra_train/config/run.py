"""Keys of ``training`` about the run: steps, schedule, clipping, checkpoints, precision, reports."""

from __future__ import annotations

from typing import Literal

import attrs

from ultra_train.config.keys import Count, Fraction, NonNegative, Positive, key


@attrs.frozen(kw_only=True, slots=False)
class ScheduleKeys:
    """The length of a run, which ends at the first limit that it reaches, and its learning-rate schedule."""

    scheduler_type: str = key("cosine", "name of a schedule plugin")
    scheduler_total_steps: Count = key(10_000, "updates over which the schedule runs")
    scheduler_warmup_ratio: Fraction = key(0.1, "share of these updates that is warm-up")
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
    """Checkpoints, evaluation, and where the finished model goes."""

    checkpoint_every_n_steps: Count = key(500, "updates between checkpoints")
    max_rolling_checkpoints: Count = key(3, "number of newest checkpoints to keep")
    num_best_checkpoints: Count = key(2, "number of best checkpoints to keep")
    eval_every_n_steps: Count | None = key(
        None, "updates between evaluations; checkpoint_every_n_steps when left out"
    )
    best_metric: str = key("eval_loss", "metric that ranks checkpoints")
    greater_is_better: bool | None = key(
        None, "whether greater values of it are better; when left out, not those of a loss or a perplexity"
    )
    load_best_model_at_end: bool = key(False, "finish with the best checkpoint instead of the last weights")
    early_stopping_patience: Count | None = key(
        None, "evaluations in a row without a better best_metric after which the run ends"
    )
    early_stopping_threshold: NonNegative = key(0.0, "smallest improvement of best_metric that counts")
    hf_output_dir: str | None = key(None, "folder of the finished model; model/ in the folder of the run")
    storage_budget_gb: Positive | None = key(None, "disk space that run and token caches may use (GB)")
    push_to_hub: bool = key(
        False,
        "upload the model to the Hugging Face hub, at every checkpoint and at the end, after it is saved",
    )
    hub_model_id: str | None = key(
        None, "repository on the hub, as owner/name; the name of the run, of the token's owner, when left out"
    )
    hub_strategy: Literal["every_save", "end"] = key(
        "every_save", "push the model of every checkpoint, or the finished one alone", any_case=True
    )
    hub_private_repo: bool | None = key(
        None, "whether the repository is private when it is made; as the hub decides when left out"
    )


@attrs.frozen(kw_only=True, slots=False)
class ComputeKeys:
    """Precision, memory and devices."""

    use_amp: bool = key(False, "mixed precision: bf16 where the device has it, else fp16")
    precision: Literal["fp32", "bf16", "fp16"] | None = key(
        None, "mixed precision with this type; the type of the weights is weights_dtype"
    )
    weights_dtype: Literal["fp32", "bf16"] = key(
        "fp32", "type of the trained weights, independent of the files of a base model"
    )
    save_dtype: Literal["fp32", "bf16", "fp16"] | None = key(
        None, "precision of the finished model's files; that of the base model, or weights_dtype, if left out"
    )
    tf32: bool | None = key(
        None, "multiply fp32 matrices in TF32 where the GPU has it; the setting of torch when left out"
    )
    compile: bool = key(
        False,
        "torch.compile the encoder for training, with rows padded to a few lengths and at most 12 graphs",
    )
    activation_checkpointing: bool = key(False, "recompute activations in the backward pass to save memory")
    distributed: Literal["ddp", "fsdp", "deepspeed"] | None = key(
        None, "strategy under torchrun or accelerate; ddp when left out"
    )


@attrs.frozen(kw_only=True, slots=False)
class ReportKeys:
    """Logs and measurements."""

    report_to: str | tuple[str, ...] | None = key(
        ("tensorboard",), "logging integrations of transformers; null: none"
    )
    run_name: str | None = key(None, "what logging integrations call the run")
    logging_dir: str | None = key(
        None, "folder of TensorBoard files, in a folder for each run; that of the run when left out"
    )
    csv_log_path: str | None = key(
        None, "CSV file with a row for every update; metrics.csv in the folder of the run when left out"
    )
    csv_rotate_on_schema_change: bool = key(True, "start another file when the columns change")
    log_gradient_stats: bool = key(True, "log statistics of gradients")
    gradient_log_interval: Count = key(10, "updates between these statistics")
    enable_block_grad_norms: bool = key(False, "log the gradient norm of every block")
    telemetry_log_interval: Count = key(10, "updates between costly measurements")
    gpu_metrics_backend: Literal["nvml", "none"] = key("nvml", "source of GPU measurements")
    nvml_device_index: int = key(
        0, "index of the GPU that is measured, as nvidia-smi counts; 0: that of the run"
    )
