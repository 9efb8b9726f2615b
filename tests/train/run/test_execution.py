"""Whole runs, from a preset to a finished folder."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from ultra_core.errors import UltraError
from ultra_core.plugins.hooks import build_manager, hookimpl
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.config import load_preset
from ultra_train.run import process
from ultra_train.run.execution import execute
from ultra_train.tasks.mlm.task import MLM
from ultra_train.trainer.checkpoints.folders import list_checkpoints


def test_a_run_leaves_everything(finished_run):
    there = {p.name for p in finished_run.iterdir()}
    assert {
        "config.yaml",
        "metrics.jsonl",
        "metrics.csv",
        "checkpoints",
        "model",
        "report.html",
        "tokenizer",
    } <= there
    assert [c.step for c in list_checkpoints(finished_run / "checkpoints")] == [12, 8, 4]
    assert not [p for p in finished_run.rglob("*") if p.suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_two_runs_never_share_a_folder(run_tiny, finished_run):
    from ultra_train.run.folder_lock import locked

    with locked(finished_run), pytest.raises(UltraError, match="in use"):
        run_tiny(finished_run.parent, resume=True, name=finished_run.name)


def test_a_finished_run_resumes_to_the_same_model(run_tiny, tmp_path):
    folder = run_tiny(tmp_path)
    before = (folder / "model" / "model.safetensors").read_bytes()
    lines = (folder / "metrics.jsonl").read_text()
    assert run_tiny(tmp_path, resume=True) == folder
    assert (folder / "model" / "model.safetensors").read_bytes() == before
    assert (folder / "metrics.jsonl").read_text().startswith(lines)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_steps": 3}, lambda plan, window: 3),
        (
            {"num_epochs": 2, "scheduler_total_steps": 400},
            lambda plan, n: -(-2 * plan.batches(0) // n),
        ),
        ({"max_samples": 1, "scheduler_total_steps": 400}, lambda plan, window: 1),
        ({"num_epochs": 9, "scheduler_total_steps": 7}, lambda plan, window: 7),
        (
            {"max_samples": 300, "scheduler_total_steps": 400},
            lambda plan, window: next(
                -(-n // window)
                for n in range(1, 999)
                if sum(len(plan.batch(*plan.position(i)).draws) for i in range(n)) >= 300
            ),
        ),
    ],
)
def test_the_run_ends_at_the_first_limit(tiny_preset, tmp_path, limits, expected):
    preset = load_preset(tiny_preset, [f"training.{k}={v}" for k, v in limits.items()])
    task = MLM("mlm").start(preset, tmp_path, device=torch.device("cpu"))
    task.prepare()
    loader = task.loader()
    assert task.steps(loader) == expected(loader.plan, preset.training.gradient_accumulation_steps)


def test_a_vocabulary_larger_than_the_model_is_refused(run_tiny, tmp_path):
    with pytest.raises(UltraError, match="vocab"):
        run_tiny(tmp_path, "model.vocab_size=280")


def test_hooks_see_the_run(run_tiny, tmp_path, monkeypatch):
    seen = []

    class Plugin:
        @hookimpl
        def ultra_config_loaded(self, config):
            seen.append("config")

        @hookimpl
        def ultra_model_built(self, model, config):
            seen.append("model")

        @hookimpl
        def ultra_callbacks(self, run):
            seen.append("callbacks")
            return []

        @hookimpl
        def ultra_evaluate(self, run, model):
            return {"loudness": 11.0}

        @hookimpl
        def ultra_checkpoint_saved(self, run, path):
            assert (path / "manifest.json").is_file()
            seen.append(path.name)

        @hookimpl
        def ultra_run_finished(self, run):
            assert (run.path / "model" / "config.json").is_file()
            seen.append("finished")

    monkeypatch.setattr(process, "plugin_manager", lambda: build_manager([("test", Plugin())]))
    folder = run_tiny(tmp_path, "training.best_metric=eval_loudness")
    assert seen == [
        "config",
        "model",
        "callbacks",
        "checkpoint-4",
        "checkpoint-8",
        "checkpoint-12",
        "finished",
    ]
    assert any(r.get("eval_loudness") == 11.0 for r in MetricsFile(folder / "metrics.jsonl").read())
    manifest = json.loads((folder / "checkpoints" / "checkpoint-12" / "manifest.json").read_text())
    assert manifest["metrics"]["eval_loudness"] == 11.0
    assert manifest["packages"]["ultra-train"]


@pytest.mark.parametrize(
    "overrides",
    [
        ("training.precision=bf16",),
        ("training.activation_checkpointing=true",),
        ("training.batching=packed",),
        ("model.layer_pattern=[retnet]", "training.dataloader_workers=1"),
    ],
)
def test_other_ways_to_compute_train_too(run_tiny, tmp_path, overrides):
    folder = run_tiny(tmp_path, "training.scheduler_total_steps=3", *overrides)
    losses = [r["loss"] for r in MetricsFile(folder / "metrics.jsonl").read() if "loss" in r]
    assert len(losses) == 3
    assert all(isinstance(loss, float) and 3 < loss < 7 for loss in losses)


def test_activation_checkpointing_changes_nothing(run_tiny, tmp_path):
    short = ("training.scheduler_total_steps=3", "training.eval_fraction=0")
    plain = run_tiny(tmp_path / "a", *short)
    saving = run_tiny(tmp_path / "b", *short, "training.activation_checkpointing=true")
    first, second = (load_file(folder / "model" / "model.safetensors") for folder in (plain, saving))
    torch.testing.assert_close(first, second)


def test_a_finished_model_is_trained_on(finished_run, tmp_path, tiny_preset):
    text = tiny_preset.read_text()
    training = text[text.index("training:") :].replace(
        "scheduler_total_steps: 12", "scheduler_total_steps: 2"
    )
    path = tmp_path / "further.yaml"
    model = finished_run / "model"
    path.write_text(f"base_model: {model}\ntokenizer: {{name_or_path: {model}}}\n{training}")
    folder = execute(load_preset(path), output_dir=tmp_path, device="cpu")
    before, after = (
        [r["eval_loss"] for r in MetricsFile(f / "metrics.jsonl").read() if "eval_loss" in r][-1]
        for f in (finished_run, folder)
    )
    assert after < before + 0.05
    assert (folder / "model" / "config.json").is_file()


def test_a_base_model_that_is_not_there(tmp_path, tiny_preset, finished_run):
    text = tiny_preset.read_text()
    path = tmp_path / "further.yaml"
    tokenizer = f"tokenizer: {{name_or_path: {finished_run / 'model'}}}"
    path.write_text(f"base_model: {tmp_path / 'nothing'}\n{tokenizer}\n{text[text.index('training:') :]}")
    with pytest.raises(UltraError, match="nothing"):
        execute(load_preset(path), output_dir=tmp_path, device="cpu")
    assert list(tmp_path.iterdir()) == [path]
