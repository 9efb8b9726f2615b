"""Whole pipelines: one run a step, stopped and resumed to the same models, and evaluated at the end."""

import json
import os
import shutil
import signal

import pytest
from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback

from ultra_core.plugins.hooks import hookimpl, plugin_manager
from ultra_train.cli.app import main
from ultra_train.pipeline.closing import commands
from ultra_train.pipeline.folder import PipelineFolder


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
    config = (finished / "second" / "config.yaml").read_text()
    assert f"base_model: {finished / 'first' / 'model'}" in config
    assert SentenceTransformer(str(finished / "second" / "model")).encode("abre la puerta").shape == (16,)


def test_the_models_are_evaluated_beside_bm25_and_hybrids(finished):
    results = json.loads((finished / "evaluation" / "results.json").read_text())
    kinds = {system["name"]: system["kind"] for system in results["groups"][0]["systems"]}
    assert (kinds["second"], kinds["BM25"]) == ("dense", "BM25")
    assert "hybrid" in kinds.values()
    assert {group["name"] for group in results["groups"]} == {"all", "seen", "unseen"}
    documents = (finished / "evaluation" / "corpus.jsonl").read_text().splitlines()
    assert json.loads(documents[0]) == {"_id": "d0", "text": "Puertas Cómo se abre la puerta del garaje."}


def test_commands_to_try_the_models_with(finished):
    first, second, index, search = commands(["first", "second"], PipelineFolder(finished))
    assert first.startswith(f"ultra-train fill-mask {finished / 'first'} ")
    assert second.startswith(f"ultra-train similarity --model {finished / 'second'}")
    assert index.startswith(f"ultra-train index {finished / 'evaluation' / 'corpus.jsonl'} --model ")
    assert search == f"ultra-train search 'poner música' --index {finished / 'index.db'}"


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


def test_what_is_finished_is_not_repeated(run, finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "pair")
    kept = [folder / "first" / "run.json", folder / "evaluation" / "results.json"]
    before = [path.stat().st_mtime_ns for path in kept]
    assert run("--resume", "--set", "first.training.seed=9") == 0
    said = capsys.readouterr().out
    assert "first is finished\nnotice: training.seed changed since, without effect; remove " in said
    assert "second is finished" in said
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert "nDCG@10" in said


def test_a_fault_of_the_last_step_is_told_before_the_first_runs(run, tmp_path, capsys):
    assert run("--set", "second.training.sbert.batch_size=0") == 2
    assert "pipeline.second.training.sbert.batch_size: expected" in capsys.readouterr().err
    assert run("--set", "second.training.sbert.dataset_name=nowhere.jsonl") == 2
    assert "nowhere.jsonl" in capsys.readouterr().err
    assert run("--set", "evaluation.data=nowhere") == 2
    assert "evaluation.data: nowhere is no collection" in capsys.readouterr().err
    assert run("--set", "evaluation.seen_split=trian") == 2
    assert "has no qrels/trian.tsv; there are dev, test, train. Did you mean" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_several_processes_are_refused(run, tmp_path, monkeypatch, capsys):
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert run() == 2
    assert "a pipeline runs in one process" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
