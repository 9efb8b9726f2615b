"""Whole pipelines: one run a step, stopped and resumed to the same models."""

import os
import shutil
import signal

import pytest
from transformers import AutoModelForMaskedLM, TrainerCallback

from ultra_core.plugins.hooks import hookimpl, plugin_manager
from ultra_train.cli.app import main


def weights(folder, step):
    return (folder / step / "model" / "model.safetensors").read_bytes()


@pytest.fixture
def run(pipeline_file, tmp_path):
    """Run the pipeline with these arguments in a folder of its own; return the exit code."""
    return lambda *more: main(
        ["run", str(pipeline_file), "--output-dir", str(tmp_path), "--device", "cpu", *more]
    )


def test_each_step_is_a_run_on_the_model_of_the_one_before(finished):
    assert {p.name for p in finished.iterdir()} >= {"first", "second", "config.yaml", "report.html"}
    assert weights(finished, "first") != weights(finished, "second")
    config = (finished / "second" / "config.yaml").read_text()
    assert f"base_model: {finished / 'first' / 'model'}" in config
    for step in ("first", "second"):
        assert AutoModelForMaskedLM.from_pretrained(finished / step / "model").config.vocab_size == 304


def test_a_signal_stops_it_and_the_printed_command_resumes_it(run, finished, tmp_path, capsys):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    class Hooks:
        @hookimpl
        def ultra_callbacks(self, run):
            return [Stop()]

    plugin_manager().register(hooks := Hooks())
    try:
        assert run() == 128 + signal.SIGTERM
    finally:
        plugin_manager().unregister(hooks)
    said = capsys.readouterr().out
    assert "stopped after update 3 of 4" in said
    assert f"Resume with: ultra-train run {tmp_path / 'pair' / 'config.yaml'} --name pair" in said
    page = (tmp_path / "pair" / "report.html").read_text()
    assert "stopped: interrupted by SIGTERM" in page
    assert "not started" in page
    assert run("--resume") == 0
    for step in ("first", "second"):
        assert weights(tmp_path / "pair", step) == weights(finished, step)


def test_finished_steps_are_not_repeated(run, finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "pair")
    shutil.rmtree(tmp_path / "pair" / "second")
    before = (tmp_path / "pair" / "first" / "run.json").read_text()
    assert run("--resume", "--set", "first.training.seed=9") == 0
    said = capsys.readouterr().out
    assert "first is finished\nnotice: training.seed changed since, without effect; remove " in said
    assert (tmp_path / "pair" / "first" / "run.json").read_text() == before
    assert weights(tmp_path / "pair", "second") == weights(finished, "second")


def test_a_fault_of_the_last_step_is_told_before_the_first_runs(run, tmp_path, capsys):
    assert run("--set", "second.training.batch_size=0") == 2
    assert "pipeline.second.training.batch_size: expected" in capsys.readouterr().err
    assert run("--set", "second.training.dataset=nowhere.txt") == 2
    assert "nowhere.txt" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_several_processes_are_refused(run, tmp_path, monkeypatch, capsys):
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert run() == 2
    assert "a pipeline runs in one process" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
