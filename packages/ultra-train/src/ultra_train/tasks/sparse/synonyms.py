"""Names that other tools have for the keys of sparse presets."""

from __future__ import annotations

from ultra_train.config.synonyms import by_synonym

SYNONYMS = by_synonym(
    {
        "training.learning_rate": "lr base_lr",
        "training.per_device_train_batch_size": "batch_size train_batch_size micro_batch_size",
        "training.per_device_eval_batch_size": "eval_batch_size",
        "training.num_train_epochs": "epochs num_epochs max_epochs n_epochs",
        "training.warmup_ratio": "warmup_steps scheduler_warmup_ratio num_warmup_steps warmup",
        "training.weight_decay": "wd",
        "training.max_grad_norm": "grad_clip_max_norm gradient_clip_val clip_grad_norm",
        "training.bf16": "precision use_amp mixed_precision amp dtype torch_dtype",
        "training.torch_compile": "compile",
        "training.max_seq_length": "max_length max_seq_len model_max_length max_len sequence_len",
        "training.eval_strategy": "evaluation_strategy",
        "training.eval_steps": "eval_every_n_steps evaluation_steps",
        "training.save_steps": "checkpoint_every_n_steps checkpoint_save_steps",
        "training.save_total_limit": "max_rolling_checkpoints",
        "training.metric_for_best_model": "best_metric",
        "training.logging_steps": "telemetry_log_interval log_interval",
        "training.output_dir": "hf_output_dir save_dir",
        "training.dataloader_num_workers": "dataloader_workers num_workers",
        "training.report_to": "wandb_project logger log_with",
        "model.base_model": "model_name_or_path model_name model_id pretrained_model_name_or_path",
        "model.pooling_strategy": "pooling pooling_mode",
        "loss.type": "loss_type",
        "loss.query_regularizer_weight": "lambda_q query_lambda lambda_query",
        "loss.document_regularizer_weight": "lambda_d document_lambda lambda_document corpus_lambda",
        "datasets": "dataset train_dataset train_file dataset_name data",
        "hardware.gradient_checkpointing": "activation_checkpointing",
        "hardware.tf32": "allow_tf32",
    }
)
"""The key that each name elsewhere, flattened, stands for."""
