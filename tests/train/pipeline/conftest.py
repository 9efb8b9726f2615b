"""A pipeline of two tiny runs, the second on the model of the first."""

from __future__ import annotations

from pathlib import Path

import pytest

from ultra_train.cli.app import main

PIPELINE = """\
meta: {{summary: two tiny runs}}
pipeline:
  first:
    preset: {tiny}
    training: {{max_steps: 4, scheduler_total_steps: 4, checkpoint_every_n_steps: 2}}
  second:
    preset: {tiny}
    base: first
    model_class: null
    model: null
    tokenizer: {{train: null, name_or_path: null}}
    training: {{max_steps: 2, scheduler_total_steps: 2}}
"""


@pytest.fixture(scope="package")
def pipeline_file(tiny_preset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline file; read it, never change it."""
    path = tmp_path_factory.mktemp("pipeline") / "pair.yaml"
    path.write_text(PIPELINE.format(tiny=tiny_preset), "utf-8")
    return path


@pytest.fixture(scope="package")
def finished(pipeline_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the finished pipeline; read it, never change it."""
    runs = tmp_path_factory.mktemp("pipelines")
    assert main(["run", str(pipeline_file), "--output-dir", str(runs), "--device", "cpu"]) == 0
    return runs / "pair"
