"""Small valid presets of every form, as text."""

MINIMAL = """\
model_class: frankenstein
model:
  vocab_size: 512
  hidden_size: 64
  num_layers: 2
  num_heads: 4
  layer_pattern: [standard_attn]
  use_hope: false
  use_moe: false
training:
  task: mlm
  dataset: ultra:es-commands
  optimizer:
    optimizer_class: adamw
    parameters:
      adamw-lr: 1e-3
"""

BASE = """\
base_model: some/encoder
tokenizer:
  name_or_path: some/encoder
training:
  dataset: ultra:es-commands
  optimizer:
    optimizer_class: lion
    parameters: {lion-lr: 1e-4}
"""

SPARSE = """\
model:
  base_model: ltg/norbert3-xs
  architecture: inference-free-splade
training:
  learning_rate: 2e-5
  query_learning_rate: 1e-3
loss:
  type: splade_loss
  document_regularizer_weight: 3e-3
datasets:
  sampling_strategy: round_robin
  nli: {enabled: true, source: some/nli, languages: [nb], split_ratio: 0.9}
  scandi_qa: {enabled: true, use_norquad: true, scandiqa_languages: [da]}
  ddsc: {enabled: false, languages: [da], tasks: [retrieval]}
"""
