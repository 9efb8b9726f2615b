"""Names of keys in other tools, for the suggestions in errors about unknown keys.

The table holds names of transformers' training arguments and example scripts, of configuration files of
models, and of common training tools. A key of ultra in the wrong place needs no entry: its places
follow from the classes.
"""

from __future__ import annotations

from collections.abc import Mapping

PARAMETERS = "training.optimizer.parameters"

SYNONYMS: dict[str, str] = {
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
    "training.num_best_checkpoints": "save_top_k",
    "training.best_metric": "metric_for_best_model monitor",
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
    "training.dataloader_workers": "dataloader_num_workers loader_workers",
    "training.num_workers": "preprocessing_num_workers dataset_num_proc num_proc dataset_processes",
    "training.compile": "torch_compile compile_model use_compile",
    "training.activation_checkpointing": "gradient_checkpointing checkpoint_activations",
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
"""Keys of a preset, each with its names in other tools; tasks declare those of their own keys."""


def flattened(name: str) -> str:
    """Return a name without capitals, hyphens and underscores: ``learningRate`` is ``learning_rate``."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def by_synonym(table: Mapping[str, str]) -> dict[str, str]:
    """Return a table from flattened names to keys."""
    return {flattened(name): target for target, names in table.items() for name in names.split()}
