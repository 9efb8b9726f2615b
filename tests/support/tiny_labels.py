"""Labelled rows and presets so small that a run takes a second."""

from __future__ import annotations

import json
from pathlib import Path

from support.tiny_run import NOUNS, ROOMS, VERBS
from support.tiny_sbert import write_base

PRESET = """
base_model: {base}
training:
  task: {task}
  report_to: []
  dataloader_workers: 0
  cache_dir: {cache}
  telemetry_log_interval: 1
  eval_fraction: 0.2
  seed: 3
  {task}:
    dataset_name: {data}
    batch_size: 8
    gradient_accumulation_steps: 2
    learning_rate: 1e-2
    warmup_steps: 1
    max_train_samples: 64
    evaluation_steps: 2
    checkpoint_save_steps: 2
    max_seq_length: 24
"""


def labelled_rows(task: str) -> list[dict[str, object]]:
    """Return commands with their verb as the label, or with their noun and room as entities."""
    rows: list[dict[str, object]] = []
    for verb in VERBS:
        for noun in NOUNS:
            for room in ROOMS:
                words = [verb, "la", noun, "del", room]
                if task == "classification":
                    rows.append({"text": " ".join(words), "label": verb})
                else:
                    rows.append({"tokens": words, "tags": ["O", "O", "B-noun", "O", "B-room"]})
    return rows


def write_labelled_preset(folder: Path, task: str) -> Path:
    """Write a preset of a task, its base model and its rows."""
    folder.mkdir(exist_ok=True)
    data = folder / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, labelled_rows(task))), "utf-8")
    base = write_base(folder / "base")
    path = folder / f"tiny_{task}.yaml"
    path.write_text(PRESET.format(base=base, data=data, cache=folder / "cache", task=task), "utf-8")
    return path
