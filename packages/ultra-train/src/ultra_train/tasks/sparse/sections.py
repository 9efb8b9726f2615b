"""The sections of a preset for sparse encoders (SPLADE, inference-free SPLADE, CSR), one by one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import attrs

from ultra_core.contracts import Range
from ultra_train.config.guards import GuardKeys
from ultra_train.config.keys import Count, Fraction, Natural, NonNegative, Positive, key
from ultra_train.config.optimizer import OptimizerConfig
from ultra_train.data.pairs.kinds import PairKind
from ultra_train.tasks.embeddings.steps import HardNegativesKeys, TeacherKeys

Architecture = Literal["inference-free-splade", "splade", "csr"]
OpenFraction = Annotated[float, Range(gt=0, lt=1)]
Shares = tuple[OpenFraction, Fraction, Fraction]


@attrs.frozen(kw_only=True)
class SparseModel:
    """``model`` of a sparse preset."""

    base_model: str = key(help="hub id or path of an encoder, or the folder of a run")
    architecture: Architecture = key(help="kind of sparse encoder", any_case=True)
    pooling_strategy: Literal["max", "sum"] = key("max", "how SPLADE pools over tokens", any_case=True)
    use_router: bool | None = key(
        None, "queries and documents have their own encoders; inference-free-splade does"
    )
    freeze_static_embedding: bool = key(False, "do not train the query weights")
    csr_k: Count = key(256, "active latents of a text")
    csr_k_aux: Count = key(512, "latents of the auxiliary loss")
    csr_hidden_dim: Count | None = key(None, "latents; four times the width of the base model when left out")
    patch_sigmoid_for_sparsity: bool = key(False, "use the logits before the sigmoid of the head (NorBERT4)")
    load_pretrained_sparse_encoder: bool = key(
        False, "base_model is a saved sparse encoder that is continued"
    )
    trust_remote_code: bool = key(False, "run code that comes with the base model")


@attrs.frozen(kw_only=True, slots=False)
class TrainingArguments:
    """Keys of ``training`` with the names and meanings of sentence-transformers' training arguments."""

    output_dir: str | None = key(None, "folder of the run")
    num_train_epochs: Positive = key(1.0, "passes over the data")
    max_steps: int = key(-1, "updates; -1 for num_train_epochs")
    per_device_train_batch_size: Count = key(16, "texts in a forward pass")
    per_device_eval_batch_size: Count = key(16, "the same in evaluation")
    gradient_accumulation_steps: Count = key(1, "forward passes in an update")
    learning_rate: Positive = key(2e-5, "learning rate")
    query_learning_rate: Positive | None = key(None, "learning rate of the static query weights")
    warmup_ratio: Fraction = key(0.1, "share of the updates that is warm-up")
    weight_decay: NonNegative = key(0.0, "weight decay")
    max_grad_norm: NonNegative = key(1.0, "global norm to which gradients are clipped")
    fp16: bool = key(False, "mixed precision in fp16")
    bf16: bool = key(False, "mixed precision in bf16")
    torch_compile: bool = key(False, "torch.compile the model")
    max_seq_length: Count = key(256, "tokens in a text")
    batch_sampler: Literal["batch_sampler", "no_duplicates", "no_duplicates_hashed", "group_by_label"] = key(
        "no_duplicates", "how batches are sampled", any_case=True
    )
    eval_strategy: Literal["no", "steps", "epoch"] = key("steps", "when to evaluate", any_case=True)
    eval_steps: Count = key(500, "updates between evaluations")
    logging_steps: Count = key(100, "updates between log lines")
    save_strategy: Literal["no", "steps", "epoch", "best"] = key("steps", "when to save", any_case=True)
    save_steps: Count = key(500, "updates between checkpoints")
    save_total_limit: Count | None = key(2, "number of checkpoints to keep")
    load_best_model_at_end: bool = key(False, "load the best checkpoint at the end")
    metric_for_best_model: str | None = key(None, "metric that ranks checkpoints")
    greater_is_better: bool | None = key(None, "whether greater values are better")
    early_stopping_patience: Count | None = key(
        None, "evaluations without a better metric after which training stops"
    )
    early_stopping_threshold: NonNegative = key(0.0, "smallest improvement of the metric that counts")
    logging_dir: str | None = key(None, "folder of TensorBoard files")
    push_to_hub: bool = key(False, "upload the model")
    hub_model_id: str | None = key(None, "where to")
    hub_strategy: Literal["end", "every_save", "checkpoint", "all_checkpoints"] = key(
        "every_save", "when to upload", any_case=True
    )
    hub_private_repo: bool | None = key(None, "keep it private")
    run_name: str | None = key(None, "name of the run")
    report_to: str | tuple[str, ...] | None = key(
        ("tensorboard",), "logging integrations of transformers; null: none"
    )
    dataloader_num_workers: Natural = key(0, "worker processes that load batches")
    dataloader_pin_memory: bool = key(True, "page-locked batches")
    dataloader_prefetch_factor: Count | None = key(None, "batches that a process prepares in advance")


@attrs.frozen(kw_only=True, slots=False)
class UltraKeys:
    """Keys of ``training`` that sparse presets have in common with other presets of ultra."""

    optimizer: OptimizerConfig | None = key(None, "optimizer plugin and its parameters; AdamW when left out")
    scheduler_type: str = key("linear", "name of a schedule plugin, which runs over all updates")
    seed: Natural = key(42, "seed of initial weights, order and dropout")
    cache_dir: str = key("./temp_data/v2_dataset_cache", "folder of the checked data sets")
    storage_budget_gb: Positive | None = key(None, "disk space that the run may use (GB)")


@attrs.frozen(kw_only=True, slots=False)
class SparseTraining(GuardKeys, UltraKeys, TrainingArguments):
    """``training`` of a sparse preset."""


@attrs.frozen(kw_only=True)
class SparseLoss:
    """``loss`` of a sparse preset."""

    type: Literal["splade_loss", "cached_splade_loss", "csr_loss"] = key(
        "splade_loss",
        "the loss; the cached one computes a large batch in parts, with the same loss and gradient",
        any_case=True,
    )
    inner_loss: str | None = key(None, "the ranking loss inside; sparse multiple negatives when left out")
    inner_loss_scale: Positive | None = key(
        None,
        "factor of the similarities in the ranking loss; left out, that of sentence-transformers, but 20 for "
        "csr on a base whose vectors have length 1",
    )
    query_regularizer_weight: NonNegative = key(0.0, "weight of the FLOPS regulariser of queries")
    document_regularizer_weight: NonNegative = key(3e-3, "weight of the FLOPS regulariser of documents")
    aux_loss_weight: NonNegative = key(0.1, "weight of the auxiliary loss of CSR")
    mini_batch_size: Count = key(32, "texts that cached_splade_loss computes at a time")


@attrs.frozen(kw_only=True)
class SparseDataset:
    """One data set; ``nli``, ``scandi_qa`` and ``ddsc`` are known, any other has a ``source``."""

    enabled: bool = key(True, "whether the data set is used")
    source: str | None = key(None, "a Hugging Face data set, a file or a folder")
    kind: PairKind | None = key(None, "what its rows are; what the inner loss takes when left out")
    hard_negatives: HardNegativesKeys | None = key(None, "mine negatives for its rows")
    teacher: TeacherKeys | None = key(
        None, "learn from the scores of a better model, with sparse_margin_mse or sparse_distill_kl"
    )
    columns: dict[str, str] = key(
        help="name of a column of that kind -> its name in the data set", factory=dict
    )
    languages: tuple[str, ...] | None = key((), "languages to use; null: all")
    split_ratio: OpenFraction | Shares | None = key(
        None, "share for training, the rest is for evaluation; or the shares of train, dev and test"
    )
    tasks: tuple[str, ...] | None = key((), "tasks of ddsc; null: all")
    use_norquad: bool = key(True, "part of scandi_qa")
    use_openbookqa: bool = key(True, "part of scandi_qa")
    use_scandiqa: bool = key(True, "part of scandi_qa")
    use_supervised_da: bool = key(True, "part of scandi_qa")
    use_paws: bool = key(True, "part of scandi_qa")
    paws_data_dir: str | None = key(None, "folder of the PAWS-X files of scandi_qa; left out when null")
    scandiqa_languages: tuple[str, ...] | None = key((), "languages of its ScandiQA part; null: all")


COMMON = frozenset(
    {"enabled", "source", "kind", "columns", "languages", "split_ratio", "hard_negatives", "teacher"}
)
"""The keys that any named data set may have."""

DATASET_KEYS: dict[str, frozenset[str]] = {
    "nli": COMMON,
    "scandi_qa": COMMON
    | frozenset(
        {
            "paws_data_dir",
            "use_norquad",
            "use_openbookqa",
            "use_scandiqa",
            "use_supervised_da",
            "use_paws",
            "scandiqa_languages",
        }
    ),
    "ddsc": COMMON | {"tasks"},
}
"""The keys of the known data sets; any other takes the common ones and needs a ``source``."""


DATASET_KINDS: dict[str, PairKind] = {"nli": "triplets", "scandi_qa": "pairs", "ddsc": "triplets"}
"""What the rows of the known data sets are; those of ``ddsc`` without a negative are pairs."""


def keys_of(name: str) -> frozenset[str]:
    """Return the keys that a data set may have."""
    return DATASET_KEYS.get(name, COMMON)


@attrs.frozen(kw_only=True)
class SparseEvaluation:
    """``evaluation`` of a sparse preset."""

    evaluator: str = key("sparse_nanobeir", "evaluator during training")
    nanobeir_datasets: tuple[str, ...] | None = key(
        ("msmarco", "nfcorpus"), "NanoBEIR sets it runs on; null: all"
    )
    mteb_tasks: tuple[str, ...] | None = key((), "MTEB tasks afterwards; null: none")
    track_sparsity: bool = key(True, "log the active dimensions")
    log_decoded_samples: bool | Natural = key(False, "log the words that some texts activate")


@attrs.frozen(kw_only=True)
class SparseRouter:
    """``router`` of a sparse preset."""

    mapping: dict[str, Literal["query", "document"]] = key(help="column -> query or document", factory=dict)
    learning_rate_patterns: dict[str, Positive] = key(
        help="regular expression over parameter names -> learning rate", factory=dict
    )


@attrs.frozen(kw_only=True)
class SparseHardware:
    """``hardware`` of a sparse preset."""

    device: Literal["cuda", "mps", "cpu"] | None = key(
        None, "device; by default, or if it does not exist, the best one of this machine", any_case=True
    )
    gradient_checkpointing: bool = key(False, "recompute activations in the backward pass to save memory")
    tf32: bool = key(False, "TF32 matrix products")
    distributed: bool = key(False, "several devices")
    world_size: Count = key(1, "how many")


ModelCard = dict[str, Any]
"""``model_card``: fields of sentence-transformers' model card, as they are."""
