from __future__ import annotations

import csv
import json
import shutil
from importlib.metadata import version

import pytest
import torch
from safetensors.torch import load_file
from transformers.utils import logging

from ultra_core.errors import UltraError
from ultra_core.plugins.hooks import build_manager, hookimpl
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.config import load_preset
from ultra_train.run import execution
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


def test_transformers_warns_of_nothing_in_a_run(run_tiny, tmp_path):
    before = logging.get_verbosity()
    try:
        logging.set_verbosity_warning()
        run_tiny(tmp_path, "training.max_steps=1")
        assert logging.get_verbosity() == logging.ERROR
    finally:
        logging.set_verbosity(before)


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


def test_the_model_loads_with_transformers_and_gives_the_trained_weights(finished_run):
    from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

    model = AutoModelForMaskedLM.from_pretrained(finished_run / "model")
    last = load_file(finished_run / "checkpoints" / "checkpoint-12" / "model.safetensors")
    state = model.state_dict()
    assert last
    assert all(torch.equal(state[k], v) for k, v in last.items())
    tokenizer = AutoTokenizer.from_pretrained(finished_run / "model")
    encoded = tokenizer("abre la puerta", return_tensors="pt")
    hidden = AutoModel.from_pretrained(finished_run / "model")(**encoded).last_hidden_state
    assert hidden.shape[-1] == 16
    assert "eval" not in (finished_run / "model" / "README.md").read_text().split("## Results")[0]


def test_the_model_loads_as_a_sentence_transformer(finished_run):
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoTokenizer

    texts = ["abre la puerta", "apaga la luz del salón"]
    encoder = SentenceTransformer(str(finished_run / "model"), trust_remote_code=True, device="cpu")
    vectors = encoder.encode(texts, convert_to_tensor=True)
    model = AutoModel.from_pretrained(finished_run / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(finished_run / "model")
    for text, vector in zip(texts, vectors, strict=True):
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state
        torch.testing.assert_close(vector, hidden[0].mean(0))
    assert encoder.max_seq_length == 24


def test_a_second_run_gets_a_number_and_a_taken_name_is_an_error(run_tiny, finished_run):
    short = "training.scheduler_total_steps=1"
    second = run_tiny(finished_run.parent, short)
    assert second.name == f"{finished_run.name}-2"
    with pytest.raises(UltraError, match="exists already"):
        run_tiny(finished_run.parent, short, name=finished_run.name)


def test_resuming_what_is_not_there_says_what_is(run_tiny, finished_run):
    with pytest.raises(UltraError, match="Did you mean 'tiny'"):
        run_tiny(finished_run.parent, resume=True, name="tinny")


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

    monkeypatch.setattr(execution, "plugin_manager", lambda: build_manager([("test", Plugin())]))
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
    folder = execution.execute(load_preset(path), output_dir=tmp_path, device="cpu")
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
        execution.execute(load_preset(path), output_dir=tmp_path, device="cpu")
    assert list(tmp_path.iterdir()) == [path]


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


def test_the_finished_model_never_takes_the_place_of_anything(run_tiny, tmp_path):
    precious = tmp_path / "models"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    short = ("training.scheduler_total_steps=1", f"training.hf_output_dir={precious}")
    with pytest.raises(UltraError, match="nothing is overwritten"):
        run_tiny(tmp_path / "runs", *short)
    assert not (tmp_path / "runs").exists()
    elsewhere = f"training.hf_output_dir={tmp_path / 'elsewhere'}"
    run_tiny(tmp_path / "runs", short[0], elsewhere)
    (tmp_path / "elsewhere" / "notes.txt").write_text("mine")
    run_tiny(tmp_path / "runs", short[0], elsewhere, resume=True)
    assert {"notes.txt", "model.safetensors"} <= {p.name for p in (tmp_path / "elsewhere").iterdir()}
    assert not (tmp_path / ".elsewhere").exists()


@pytest.mark.parametrize("key", ["cache_dir", "csv_log_path", "hf_output_dir"])
def test_a_place_below_a_file_is_refused_before_anything_else(run_tiny, tmp_path, key):
    (tmp_path / "file").write_text("")
    with pytest.raises(UltraError, match=rf"training.{key}: .*file is a file"):
        run_tiny(tmp_path / "runs", f"training.{key}={tmp_path}/file/deep/inside")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["wandbb", "wandb"])
def test_a_report_that_cannot_be_made_is_said_before_anything_else(run_tiny, tmp_path, monkeypatch, name):
    monkeypatch.setattr("ultra_train.run.device.get_available_reporting_integrations", lambda: [])
    expected = "Did you mean 'wandb'" if name == "wandbb" else "'wandb' is not installed"
    with pytest.raises(UltraError, match=expected):
        run_tiny(tmp_path, f"training.report_to=[{name}]")
    assert not list(tmp_path.iterdir())


def test_a_best_metric_that_nothing_measures_is_said_once(run_tiny, tmp_path, capsys):
    folder = run_tiny(tmp_path, "training.scheduler_total_steps=8", "training.best_metric=eval_beauty")
    said = capsys.readouterr().out
    assert said.count("training.best_metric eval_beauty is not measured; choose one of eval_accuracy") == 1
    assert len(list_checkpoints(folder / "checkpoints")) == 2
