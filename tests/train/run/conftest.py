"""A preset so small that a run takes seconds, its texts, and one finished run of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support.forked_run import ForkedRun

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


@pytest.fixture(autouse=True)
def _no_full_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accelerate collects garbage before every training: half a second with transformers loaded."""
    monkeypatch.setattr("gc.collect", lambda *args: 0)


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


@pytest.fixture(scope="session")
def tiny_preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the preset."""
    return write_preset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def run_tiny(tiny_preset: Path) -> Callable[..., Path]:
    """Run the preset in this process: ``run_tiny(runs, "training.seed=4", resume=True)``."""

    def run(runs: Path, *overrides: str, **options: Any) -> Path:
        from ultra_train.config import load_preset
        from ultra_train.run.execution import execute

        preset = load_preset(tiny_preset, overrides)
        return execute(preset, output_dir=runs, device="cpu", **options)

    return run


@pytest.fixture(scope="session")
def finished_run(run_tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run; read it, never change it."""
    return run_tiny(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def start(tiny_preset, tmp_path) -> Iterator[Callable[..., ForkedRun]]:
    """Start a run; what is left of it at the end of the test is killed."""
    runs = []

    def begin(*arguments: str, **options: Any) -> ForkedRun:
        given = ["run", str(tiny_preset), "--output-dir", str(tmp_path / "runs"), "--device", "cpu"]
        runs.append(ForkedRun([*given, *arguments], tmp_path / f"output{len(runs)}", **options))
        return runs[-1]

    yield begin
    for run in runs:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
