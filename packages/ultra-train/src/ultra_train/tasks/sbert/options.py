"""The options of the task ``sbert``, which are the section ``training.sbert``."""

from __future__ import annotations

from typing import Literal

import attrs

from ultra_train.config.keys import Count, Natural, NonNegative, Positive, key
from ultra_train.config.optimizer import OptimizerConfig


@attrs.frozen(kw_only=True)
class SbertOptions:
    """Data, loss and training arguments of sentence embeddings."""

    dataset_name: str = key(help="a Hugging Face data set, a file or a folder")
    dataset_type: Literal["paired_similarity", "triplets", "qa"] = key(
        "paired_similarity", "what its columns are", any_case=True
    )
    columns: dict[str, str] = key(
        help="name of a column in the task -> its name in the data set", factory=dict
    )
    query_prefix: str = key("", "put before every query")
    document_prefix: str = key("", "put before every document")
    output_dir: str | None = key(None, "folder of the finished model; model/ in the folder of the run")
    batch_size: Count = key(16, "pairs in a forward pass")
    gradient_accumulation_steps: Count = key(1, "forward passes in an update")
    max_grad_norm: NonNegative = key(1.0, "global norm to which gradients are clipped")
    epochs: Count = key(1, "passes over the data")
    warmup_steps: Natural = key(0, "updates that warm up")
    evaluation_steps: Natural = key(0, "updates between evaluations; 0 for one an epoch")
    checkpoint_save_steps: Natural = key(0, "updates between checkpoints; 0 for one an epoch")
    resume_from_checkpoint: str | bool | None = key(None, "checkpoint to resume from; true: the newest")
    learning_rate: Positive = key(2e-5, "learning rate when no optimizer section gives one")
    max_train_samples: Count | None = key(None, "most pairs that are trained on")
    max_eval_samples: Count | None = key(None, "most pairs that are evaluated on")
    max_seq_length: Count | None = key(None, "tokens in a text; the model's own limit when left out")
    pooling_mode: Literal["mean", "cls", "max"] = key("mean", "how token vectors become one", any_case=True)
    trust_remote_code: bool = key(False, "run code that comes with the base model")
    use_amp: bool = key(False, "mixed precision")
    resample_balanced: bool = key(False, "draw similarity scores evenly over their range")
    resample_std: Positive = key(0.3, "width of the kernel of that resampling")
    standardize_scores: bool = key(False, "shift and scale the scores to mean 0 and deviation 1")
    wandb_project: str | None = key(None, "project of Weights & Biases, where report_to names wandb")
    optimizer: OptimizerConfig | None = key(None, "optimizer plugin and its parameters")
