"""A base model and pairs so small that a run of sentence embeddings takes a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.tiny_run import NOUNS, ROOMS, VERBS

PRESET = """
base_model: {base}
training:
  task: sbert
  report_to: []
  dataloader_workers: 0
  cache_dir: {cache}
  telemetry_log_interval: 1
  eval_fraction: 0.2
  seed: 3
  sbert:
    dataset_name: {pairs}
    batch_size: 8
    gradient_accumulation_steps: 2
    learning_rate: 1e-3
    warmup_steps: 1
    max_train_samples: 64
    evaluation_steps: 2
    checkpoint_save_steps: 2
    max_seq_length: 12
"""


def commands() -> list[str]:
    """Return 216 texts."""
    return [f"{v} la {n} del {r}" for v in VERBS for n in NOUNS for r in ROOMS]


def write_pairs(folder: Path) -> Path:
    """Write pairs with scores: commands that differ in the verb, the noun, or both."""
    texts = commands()
    rows = [
        {"sentence1": one, "sentence2": texts[(i + step) % len(texts)], "score": score}
        for i, one in enumerate(texts[::2])
        for step, score in ((1, 0.8), (36, 0.5), (43, 0.1))
    ]
    return _written(folder / "pairs.jsonl", rows)


def write_triplets(folder: Path) -> Path:
    """Write triplets, many of which have a text in common."""
    texts = commands()
    rows = [
        {"anchor": one, "positive": texts[i - i % 6], "negative": texts[(i + 50) % len(texts)]}
        for i, one in enumerate(texts)
    ]
    return _written(folder / "triplets.jsonl", [row for row in rows if row["anchor"] != row["positive"]])


def _written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    return path


def write_base(folder: Path) -> Path:
    """Write a tiny BERT with dropout, and its tokenizer."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    from ultra_train.twins.tokenizer import train_family_tokenizer

    tokenizer = train_family_tokenizer("bert", commands(), folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        BertForMaskedLM(config).save_pretrained(folder)
    return folder


def tiny_encoder(base: Path, *, dropout: float = 0.1) -> Any:
    """Return a SentenceTransformer of the tiny BERT with mean pooling."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    options = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    torch.manual_seed(0)  # for the pooler, which is not saved and not used
    words = Transformer(str(base), max_seq_length=12, config_kwargs=options)
    pooling = Pooling(words.get_embedding_dimension(), pooling_mode="mean")
    return SentenceTransformer(modules=[words, pooling], device="cpu")


def write_sbert_preset(folder: Path) -> Path:
    """Write the preset, its base model and its pairs."""
    base, pairs = write_base(folder / "base"), write_pairs(folder)
    path = folder / "tiny_sbert.yaml"
    path.write_text(PRESET.format(base=base, pairs=pairs, cache=folder / "cache"), "utf-8")
    return path
