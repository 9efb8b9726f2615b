"""Keys of other tools, and what ultra calls them: what an error about an unknown key suggests.

The tables hold names of transformers' training arguments and example scripts, of sentence-transformers, of
configuration files of models, and of common training tools, as `flattened` writes them. A key of ultra that
stands in the wrong place needs no entry: its places follow from the classes.
"""

from __future__ import annotations

PARAMETERS = "training.optimizer.parameters"

_DENSE: dict[str, str] = {
    f"{PARAMETERS}.adamw-lr": "learning_rate lr base_lr peak_lr max_lr",
    f"{PARAMETERS}.adamw-weight_decay": "weight_decay wd",
    f"{PARAMETERS}.adamw-betas": "adam_beta1 adam_beta2 beta1 beta2 betas adam_betas",
    f"{PARAMETERS}.adamw-eps": "adam_epsilon epsilon eps adam_eps",
    PARAMETERS: "optim_args optimizer_args optimizer_kwargs optim_kwargs optimizer_params",
    "training.optimizer.optimizer_class": "optim optimizer_type optimizer_name optim_type",
    "base_model": (
        "model_name_or_path model_name model_id model_path base_model_name pretrained_model "
        "pretrained_model_name_or_path base_model_name_or_path base_model_id"
    ),
    "tokenizer.name_or_path": "tokenizer_name tokenizer_name_or_path tokenizer_path",
    "training.batch_size": (
        "per_device_train_batch_size per_device_eval_batch_size per_gpu_train_batch_size "
        "train_batch_size eval_batch_size micro_batch_size device_batch_size batch "
        "train_micro_batch_size_per_gpu batch_size_per_device"
    ),
    "training.gradient_accumulation_steps": "grad_accum grad_accumulation_steps accumulate_grad_batches",
    "training.max_length": (
        "max_seq_length max_seq_len sequence_len sequence_length seq_length seq_len cutoff_len "
        "block_size model_max_length max_len context_length max_sequence_length"
    ),
    "training.dataset": (
        "train_file train_files data_files dataset_name dataset_path data_path datasets train_dataset "
        "train_data training_data data corpus dataset_dir data_dir train_data_path "
        "dataset_config_name dataset_split data_source dataset_source text_column_name text_column "
        "text_field dataset_text_field"
    ),
    "training.eval_fraction": (
        "validation_file validation_split_percentage validation_split val_set_size val_size test_size "
        "eval_dataset eval_file eval_split validation_fraction val_fraction"
    ),
    "training.precision": (
        "fp16 bf16 fp32 mixed_precision amp dtype torch_dtype half_precision use_fp16 use_bf16 "
        "fp16_full_eval bf16_full_eval"
    ),
    "training.checkpoint_every_n_steps": (
        "save_steps save_strategy save_every save_interval checkpointing_steps save_freq "
        "checkpoint_steps checkpoint_interval checkpoint_every checkpoint_save_steps"
    ),
    "training.max_rolling_checkpoints": "save_total_limit keep_last_n_checkpoints checkpoints_total_limit",
    "training.num_best_checkpoints": "load_best_model_at_end save_top_k",
    "training.best_metric": "metric_for_best_model greater_is_better monitor",
    "training.scheduler_warmup_ratio": (
        "warmup_steps warmup_ratio num_warmup_steps warmup warmup_proportion warmup_fraction lr_warmup_steps"
    ),
    "training.scheduler_type": (
        "lr_scheduler_type lr_scheduler scheduler lr_schedule schedule scheduler_name lr_scheduler_name"
    ),
    "training.num_epochs": "num_train_epochs epochs max_epochs n_epochs num_epoch train_epochs",
    "training.max_steps": (
        "max_train_steps total_steps num_training_steps num_train_steps num_steps train_steps "
        "training_steps max_iters max_iterations steps"
    ),
    "training.max_samples": "max_train_samples max_examples num_samples",
    "training.grad_clip_max_norm": (
        "max_grad_norm gradient_clip_val gradient_clipping clip_grad_norm clip_grad max_norm "
        "grad_clip gradient_clip grad_norm_clip"
    ),
    "training.eval_every_n_steps": (
        "eval_steps evaluation_steps eval_strategy evaluation_strategy do_eval eval_every "
        "eval_interval eval_freq val_check_interval evaluate_every evals_per_epoch"
    ),
    "training.telemetry_log_interval": (
        "logging_steps logging_strategy log_every_n_steps log_interval log_every log_steps logging_interval"
    ),
    "training.mlm_probability": "mlm_prob masking_probability mask_probability mask_prob mlm_ratio",
    "training.mask_policy": "whole_word_mask whole_word_masking wwm masking_strategy",
    "training.dataloader_workers": "dataloader_num_workers loader_workers",
    "training.num_workers": "preprocessing_num_workers dataset_num_proc num_proc dataset_processes",
    "training.compile": "torch_compile compile_model use_compile",
    "training.activation_checkpointing": "gradient_checkpointing checkpoint_activations",
    "training.batching": "packing sample_packing group_by_length pack_sequences",
    "training.distributed": "deepspeed fsdp ddp fsdp_config",
    "training.report_to": "wandb_project use_wandb use_mlflow use_tensorboard logger log_with",
    "training.seed": "random_seed data_seed manual_seed",
    "training.hf_output_dir": "output_dir save_dir model_dir final_output_dir",
    "training.hub_model_id": "push_to_hub_model_id hub_repo repo_id",
    "training.cache_dir": "dataset_prepared_path preprocessed_dir",
    "model.hidden_size": "hidden_dim d_model n_embd embed_dim embedding_dim model_dim",
    "model.num_layers": "num_hidden_layers n_layer n_layers num_blocks depth encoder_layers",
    "model.num_heads": "num_attention_heads n_head n_heads attention_heads",
    "model.num_kv_heads": "num_key_value_heads n_kv_heads n_kv_head",
    "model.ffn_hidden_size": "intermediate_size d_ff ffn_dim ffn_size mlp_dim ffn_hidden_dim",
    "model.ffn_activation": "hidden_act hidden_activation activation_function activation",
    "model.dropout": "hidden_dropout_prob attention_probs_dropout_prob dropout_rate attention_dropout",
    "model.norm_type": "norm normalization layer_norm_type norm_layer",
    "model.layer_pattern": "layers blocks block_pattern layer_types block_types",
    "model.positions": "position_embedding_type pos_encoding position_encoding positional_embedding",
    "model.rope_base": "rope_theta",
    "model.max_positions": "max_position_embeddings n_positions",
    "model.tie_embeddings": "tie_word_embeddings tie_weights",
    "model.causal": "is_decoder is_causal",
    "model.num_experts": "num_local_experts n_experts",
    "model.top_k_experts": "num_experts_per_tok moe_top_k experts_per_token",
    "model.factorized_embedding_dim": "embedding_size",
    "model.vocab_size": "n_vocab vocabulary_size",
}
"""A key of a preset for a new encoder or a base model, and its names elsewhere."""

_SBERT: dict[str, str] = {
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
"""The same inside ``training.sbert``."""

_SPARSE: dict[str, str] = {
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
"""The same in a preset of a sparse encoder."""


def flattened(name: str) -> str:
    """Return a name without capitals, hyphens and underscores: ``learningRate`` is ``learning_rate``."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _turned(table: dict[str, str]) -> dict[str, str]:
    return {flattened(name): target for target, names in table.items() for name in names.split()}


DENSE, SBERT, SPARSE = _turned(_DENSE), _turned(_SBERT), _turned(_SPARSE)
"""What each of the names, flattened, is called here: the path of a key."""
