"""A preset so small that a run takes seconds, and its texts."""

from __future__ import annotations

from pathlib import Path

PRESET = """
model_class: frankenstein
model:
  vocab_size: 304
  hidden_size: 16
  num_layers: 2
  num_heads: 2
  retention_heads: 2
  layer_pattern: [standard_attn]
  norm_type: layer_norm
  ffn_hidden_size: 32
  use_moe: false
  use_hope: false
  dropout: 0.1
tokenizer:
  train: {{vocab_size: 300, model_type: unigram}}
training:
  task: mlm
  dataset: {texts}
  cache_dir: {cache}
  batch_size: 2
  max_length: 24
  gradient_accumulation_steps: 2
  num_workers: 0
  dataloader_workers: 0
  eval_fraction: 0.1
  optimizer:
    optimizer_class: muon
    parameters: {{muon-lr: 0.01, muon-lr_norms: 0.001}}
  scheduler_total_steps: 12
  checkpoint_every_n_steps: 4
  telemetry_log_interval: 1
  report_to: []
  seed: 3
"""

NOUNS = ("puerta", "ventana", "luz", "música", "persiana", "lámpara")
ROOMS = ("garaje", "salón", "dormitorio", "baño", "jardín", "pasillo")
VERBS = ("abre", "cierra", "enciende", "apaga", "sube", "baja")


def write_preset(folder: Path) -> Path:
    """Write the preset and its 216 texts."""
    texts = [f"{v} la {n} del {r}" for v in VERBS for n in NOUNS for r in ROOMS]
    (folder / "texts.txt").write_text("\n".join(texts), "utf-8")
    path = folder / "tiny.yaml"
    path.write_text(PRESET.format(texts=folder / "texts.txt", cache=folder / "cache"), "utf-8")
    return path
