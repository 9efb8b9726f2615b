"""A pipeline of two tiny runs, the second on the model of the first, and a tiny collection."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.collections import write_collection
from support.tiny_run import NOUNS, ROOMS
from ultra_train.cli.app import main

PIPELINE = """\
meta: {{summary: two tiny runs}}
pipeline:
  first:
    preset: {tiny}
    training: {{max_steps: 4, scheduler_total_steps: 4, checkpoint_every_n_steps: 2}}
  second:
    base: first
    training:
      task: sbert
      cache_dir: {folder}/cache
      eval_fraction: 0
      report_to: []
      sbert: {{dataset_name: {folder}/pairs.jsonl, dataset_type: pairs, batch_size: 18}}
evaluation: {{data: {folder}/collection, models: [second], seen_split: train}}
"""


@pytest.fixture(scope="package")
def pipeline_file(tiny_preset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline file; read it, never change it."""
    folder = tmp_path_factory.mktemp("pipeline")
    texts = [f"la {noun} del {room}" for noun in NOUNS for room in ROOMS]
    rows = [{"anchor": f"abre {text}", "positive": f"abra {text}"} for text in texts]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    write_collection(folder / "collection")
    path = folder / "pair.yaml"
    path.write_text(PIPELINE.format(tiny=tiny_preset, folder=folder), "utf-8")
    return path


@pytest.fixture(scope="package")
def finished(pipeline_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the finished pipeline; read it, never change it."""
    runs = tmp_path_factory.mktemp("pipelines")
    assert main(["run", str(pipeline_file), "--output-dir", str(runs), "--device", "cpu"]) == 0
    return runs / "pair"
