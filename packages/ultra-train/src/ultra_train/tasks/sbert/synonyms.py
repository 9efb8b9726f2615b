"""Names that other tools have for the keys of ``training.sbert``."""

from __future__ import annotations

SYNONYMS: dict[str, str] = {
    "training.sbert.learning_rate": "lr base_lr",
    "training.sbert.batch_size": (
        "per_device_train_batch_size per_device_eval_batch_size train_batch_size eval_batch_size "
        "micro_batch_size"
    ),
    "training.sbert.epochs": "num_train_epochs num_epochs max_epochs n_epochs",
    "training.sbert.warmup_steps": "warmup_ratio num_warmup_steps warmup scheduler_warmup_ratio",
    "training.sbert.evaluation_steps": "eval_steps eval_every_n_steps evaluation_strategy eval_strategy",
    "training.sbert.checkpoint_save_steps": "save_steps checkpoint_every_n_steps save_strategy",
    "training.sbert.max_grad_norm": "grad_clip_max_norm gradient_clip_val clip_grad_norm",
    "training.sbert.max_seq_length": "max_length max_seq_len model_max_length max_len",
    "training.sbert.max_train_samples": "max_samples",
    "training.sbert.pooling_mode": "pooling pooling_strategy",
    "training.sbert.dataset_name": "dataset train_dataset train_file dataset_path",
    "training.sbert.use_amp": "fp16 bf16 precision mixed_precision amp use_fp16 use_bf16",
    "training.sbert.output_dir": "hf_output_dir",
}
