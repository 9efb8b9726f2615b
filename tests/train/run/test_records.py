"""What a run writes about itself."""

from __future__ import annotations

import csv
import json
import shutil
from importlib.metadata import version

import pytest

from ultra_core.errors import UltraError
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.config import load_preset
from ultra_train.trainer.checkpoints.folders import list_checkpoints


def test_the_resolved_preset_loads_to_itself(finished_run, tiny_preset):
    assert load_preset(finished_run / "config.yaml") == load_preset(tiny_preset)


def test_metrics_have_rates_norms_and_evaluation(finished_run):
    records = MetricsFile(finished_run / "metrics.jsonl").read()
    train = [r for r in records if "loss" in r]
    assert [r["step"] for r in train] == list(range(1, 13))
    measured = {"lr_attention", "lr_embeddings", "lr_norms", "tokens_seen", "grad_norm"}
    measured |= {"training_hours", "memory_gb"}
    assert measured <= set(train[-1])
    for record in train:  # gradient_log_interval is 10; other lines have no number of an older update
        roles = [v for k, v in record.items() if k.startswith("grad_norm_")]
        assert bool(roles) == (record["step"] in (1, 10))
        assert not roles or sum(v * v for v in roles) == pytest.approx(record["grad_norm"] ** 2)
    assert train[-1]["lr_norms"] != train[-1]["lr_attention"]
    evaluated = [r for r in records if "eval_loss" in r]
    assert [r["step"] for r in evaluated] == [4, 8, 12]
    assert 0 <= evaluated[-1]["eval_unigram_accuracy"] <= 1
    with (finished_run / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == [str(i) for i in range(1, 13)]


def test_the_report_shows_what_was_recorded(finished_run):
    page = (finished_run / "report.html").read_text()
    titles = ("Loss", "Perplexity", "Learning rate by role", "Throughput", "Memory", "Sample predictions")
    assert [title for title in titles if f"<h2>{title}" not in page] == []
    assert ">finished<" in page


def test_the_facts_of_a_finished_run(finished_run):
    facts = json.loads((finished_run / "run.json").read_text())
    (part,) = facts["parts"]
    assert (part["step"], part["last_step"], part["outcome"]) == (0, 12, "finished")
    assert part["versions"]["torch"] == version("torch")
    assert facts["parameters"] == facts["trainable_parameters"] > 1000
    assert facts["tokens"] > 0


def test_samples_are_the_same_texts_at_every_evaluation(finished_run):
    lines = map(json.loads, (finished_run / "metrics.jsonl").read_text().splitlines())
    events = [line for line in lines if line.get("event") == "samples"]
    assert [event["step"] for event in events] == [4, 8, 12]
    given = {tuple(sample["given"] for sample in event["samples"]) for event in events}
    assert len(given) == 1
    for sample in events[-1]["samples"]:
        assert sample["given"].count("____") == 1
        assert sample["expected"] not in sample["given"].split("____")
        scores = [guess["score"] for guess in sample["guesses"]]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) == 3


def test_a_run_that_is_resumed_with_another_model_stays_as_it_was(run_tiny, finished_run, tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(finished_run, folder)
    before = (folder / "config.yaml").read_text()
    wider = ("model.hidden_size=32", "training.scheduler_total_steps=16")
    with pytest.raises(UltraError, match=r"does not fit this model: size mismatch .* model of the run"):
        run_tiny(tmp_path, *wider, resume=True)
    assert (folder / "config.yaml").read_text() == before
    assert not [p for p in folder.iterdir() if p.name.startswith(".config")]


def test_a_config_that_cannot_be_read_stops_nothing(run_tiny, finished_run, tmp_path, capsys):
    folder = tmp_path / "tiny"
    shutil.copytree(finished_run, folder)
    (folder / "config.yaml").write_text("model_class: [", "utf-8")
    run_tiny(tmp_path, "training.max_steps=13", resume=True)
    assert "notice: changed since the run began: training.max_steps" in capsys.readouterr().out
    assert load_preset(folder / "config.yaml").training.max_steps == 13


def test_a_best_metric_that_nothing_measures_is_said_once(run_tiny, tmp_path, capsys):
    folder = run_tiny(tmp_path, "training.scheduler_total_steps=8", "training.best_metric=eval_beauty")
    said = capsys.readouterr().out
    assert said.count("training.best_metric eval_beauty is not measured; choose one of eval_accuracy") == 1
    assert len(list_checkpoints(folder / "checkpoints")) == 2
