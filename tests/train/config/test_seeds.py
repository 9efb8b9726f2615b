"""The sample of the documents that the project was created from, every key of it."""

import torch
from torch import nn

import ultra_optim
from ultra_core.config import parse_source
from ultra_optim.roles.preset_keys import parse_parameters
from ultra_train.config import from_source
from ultra_train.config.optimizer import OptimizerKeys, from_flat

SAMPLE = """\
model_class: frankenstein
model:
  vocab_size: 50000
  hidden_size: 768
  num_layers: 12
  num_loops: 1
  num_heads: 12
  retention_heads: 12
  num_experts: 4
  top_k_experts: 2
  dropout: 0.1
  layer_pattern: [standard_attn]
  ode_solver: rk4
  ode_steps: 2
  use_bitnet: false
  norm_type: dynamic_tanh
  use_factorized_embedding: false
  factorized_embedding_dim: 128
  use_embedding_conv: false
  embedding_conv_kernel: 3
  hope_base: 10000.0
  hope_damping: 0.01
  use_hope: true
  use_moe: false
  ffn_hidden_size: 3072
  ffn_activation: gelu
training:
  batch_size: 4
  dataloader_workers: 2
  max_length: 512
  mlm_probability: 0.15
  max_samples: 20000000
  dataset_batch_size: 25000
  num_workers: 8
  cache_dir: "./temp_data/v2_dataset_cache"
  local_parquet_dir: "/path/to/parquet"
  prefer_local_cache: true
  stream_local_parquet: true
  use_amp: false
  gradient_accumulation_steps: 4
  lr_embeddings: 1e-6
  lr_norms: 5e-6
  lr_ode: 1e-7
  lr_retnet: 5e-6
  lr_mamba: 2e-6
  lr_attention: 3e-6
  lr_other: 2e-6
  wd_embeddings: 0.01
  wd_norms: 0.001
  wd_ode: 0.01
  wd_retnet: 0.01
  wd_mamba: 0.01
  wd_attention: 0.01
  wd_other: 0.01
  betas_embeddings: [0.9, 0.95]
  betas_norms: [0.9, 0.95]
  betas_ode: [0.9, 0.95]
  betas_retnet: [0.9, 0.95]
  betas_mamba: [0.9, 0.95]
  betas_attention: [0.9, 0.95]
  betas_other: [0.9, 0.95]
  eps_embeddings: 1e-8
  eps_norms: 1e-8
  eps_ode: 1e-8
  eps_retnet: 1e-8
  eps_mamba: 1e-8
  eps_attention: 1e-8
  eps_other: 1e-8
  scheduler_total_steps: 10000
  scheduler_warmup_ratio: 0.1
  scheduler_type: cosine
  grad_clip_max_norm: 5.0
  inf_post_clip_threshold: 100.0
  max_nan_retries: 3
  checkpoint_every_n_steps: 500
  max_rolling_checkpoints: 3
  num_best_checkpoints: 2
  nan_check_interval: 10
  log_gradient_stats: true
  gradient_log_interval: 10
  use_galore: false
  galore_rank: 64
  galore_update_interval: 1
  galore_scale: 1.0
  galore_max_dim: 4096
"""


def test_the_flat_spelling_of_every_key():
    preset = from_source(parse_source(SAMPLE), "sample")
    optimizer = preset.training.optimizer
    assert optimizer.optimizer_class == "adamw"
    assert optimizer.parameters["adamw-lr_ode"] == 1e-7
    assert optimizer.parameters["adamw-eps"] == 1e-8
    assert preset.training.local_parquet_dir == "/path/to/parquet"
    (idle,) = [line for line in preset.notices if line.startswith("no effect in this run")]
    for key in ("lr_retnet", "betas_mamba", "galore_rank", "ode_solver", "retention_heads", "num_experts"):
        assert key in idle


def test_galore_in_the_flat_spelling_names_its_optimizer():
    keys = OptimizerKeys(use_galore=True, galore_rank=8, lr_norms=1e-3)
    optimizer = from_flat(keys)
    assert optimizer.optimizer_class == "galore_adamw"
    assert optimizer.parameters["galore_adamw-rank"] == 8
    assert optimizer.parameters["galore_adamw-max_dim"] == 4096
    assert optimizer.parameters["galore_adamw-lr_norms"] == 1e-3


def test_galore_in_the_flat_spelling_builds():
    keys = OptimizerKeys(use_galore=True, galore_rank=2, galore_max_dim=8, lr_other=1e-3, lr_norms=1e-4)
    optimizer = from_flat(keys)
    parsed = parse_parameters(optimizer.optimizer_class, optimizer.parameters)
    assert parsed.faults == []
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 9))
    built = ultra_optim.build(optimizer.optimizer_class, model, roles=parsed.roles, **parsed.options)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    built.step()
    low, _, _, _, long, _ = (built.state[p].keys() for p in model.parameters())
    assert "projector" in low
    assert "projector" not in long, "a side above galore_max_dim takes AdamW"
    options = {k: built.defaults[k] for k in ("rank", "update_interval", "scale", "max_dim")}
    assert options == {"rank": 2, "update_interval": 1, "scale": 1.0, "max_dim": 8}
    assert {g["role"]: g["lr"] for g in built.param_groups} == {"other": 1e-3, "norms": 1e-4}
