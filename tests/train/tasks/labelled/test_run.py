"""Runs of both tasks, from a preset to a model that pipelines load and ``predict`` uses."""

import csv
import io
import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import pipeline

from support.killed_twin import trained_twice
from support.tiny_labels import write_labelled_preset
from ultra_core.errors import UltraError
from ultra_train.config import load_preset
from ultra_train.data.errors import DataError
from ultra_train.run.execution import execute

TASKS = ("classification", "token_classification")


@pytest.fixture(autouse=True)
def _no_full_collection(monkeypatch):
    """Accelerate collects garbage before every training: half a second with transformers loaded."""
    monkeypatch.setattr("gc.collect", lambda *args: 0)


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """Path of the preset of each task."""
    return {task: write_labelled_preset(tmp_path_factory.mktemp(task), task) for task in TASKS}


@pytest.fixture(scope="module")
def runs(presets, tmp_path_factory):
    """The twins of each task: a whole run, and one that was killed and resumed."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.collect", lambda *args: 0)
        for task, path in presets.items():
            folder = tmp_path_factory.mktemp("runs")
            made[task] = trained_twice(load_preset(path), 4, folder, patch)
    return made


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("task", TASKS)
def test_a_killed_run_that_is_resumed_is_as_one_that_never_was(runs, task):
    twins = runs[task]
    expected, found = (
        load_file(run / "model" / "model.safetensors") for run in (twins.unbroken, twins.resumed)
    )
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
    measured = [
        [{k: v for k, v in line.items() if k.endswith(("f1", "eval_loss"))} for line in lines(run)]
        for run in (twins.unbroken, twins.resumed)
    ]
    assert measured[0] == measured[1]


@pytest.mark.parametrize(
    ("task", "metrics", "label"),
    [
        ("classification", {"eval_accuracy", "eval_macro_f1", "eval_mcc"}, "abre"),
        ("token_classification", {"eval_precision", "eval_recall", "eval_f1", "eval_macro_f1"}, "B-room"),
    ],
)
def test_what_a_run_leaves(runs, task, metrics, label):
    run = runs[task].unbroken
    found = lines(run)
    assert metrics <= [line for line in found if "eval_loss" in line][-1].keys()
    confusion = [line for line in found if line.get("event") == "confusion"][-1]
    assert label in confusion["labels"]
    assert "Right and wrong labels" in (run / "report.html").read_text("utf-8")
    assert f"pipeline_tag: {'text' if task == 'classification' else 'token'}-classification" in (
        run / "model" / "README.md"
    ).read_text("utf-8")
    kind = "text-classification" if task == "classification" else "token-classification"
    (first, *_) = pipeline(kind, model=str(run / "model"), device="cpu")("abre la puerta del garaje")
    assert first.get("label", first.get("entity")) in confusion["labels"]


def test_predict_gives_labels_of_files_and_texts(runs, tmp_path, ultra):
    texts = tmp_path / "texts.csv"
    texts.write_text("id,text\n1,abre la puerta del garaje\n2,cierra\n3,\n", "utf-8")
    intents, slots = (str(runs[task].unbroken) for task in TASKS)
    rows = list(csv.DictReader(io.StringIO(ultra("predict", intents, str(texts)).output)))
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert (rows[2]["label"], rows[2]["score"]) == ("", "")
    scores = pipeline("text-classification", model=f"{intents}/model", device="cpu")(rows[0]["text"])
    assert (rows[0]["label"], float(rows[0]["score"])) == (
        scores[0]["label"],
        pytest.approx(scores[0]["score"], abs=1e-4),
    )
    written = tmp_path / "tags.jsonl"
    ultra("predict", slots, str(texts), "--output", str(written))
    tagged = [json.loads(line) for line in written.read_text("utf-8").splitlines()]
    assert [len(row["label"].split()) for row in tagged] == [5, 1, 0]
    assert "no column 'frase'" in ultra("predict", intents, str(texts), "--text-column", "frase").output
    assert "give files, or texts" in ultra("predict", intents).output


def test_weights_and_a_head_for_other_labels(presets, runs, tmp_path):
    base = runs["classification"].unbroken
    keys = [
        f"base_model={base}",
        "training.classification.class_weights=balanced",
        "training.classification.max_train_samples=16",
        "training.max_steps=1",
        "training.classification.columns={text: label, label: text}",
    ]
    run = execute(load_preset(presets["classification"], keys), output_dir=tmp_path, device="cpu")
    config = json.loads((run / "model" / "config.json").read_text("utf-8"))
    assert len(config["id2label"]) > 16


@pytest.mark.parametrize("problem", ["multi_label", "regression"])
def test_several_labels_and_numbers(presets, tmp_path, problem):
    rows = [
        {"text": f"texto {n}", "label": n / 8 if problem == "regression" else ["a", "b"][: n % 3]}
        for n in range(16)
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    keys = [
        f"training.classification.dataset_name={data}",
        f"training.classification.problem_type={problem}",
        "training.max_steps=1",
    ]
    run = execute(load_preset(presets["classification"], keys), output_dir=tmp_path, device="cpu")
    measured = [line for line in lines(run) if "eval_loss" in line][-1]
    assert {"eval_mse"} <= measured.keys() or {"eval_micro_f1"} <= measured.keys()


def test_an_encoder_of_ones_own_is_trained_without_its_padding(finished_run, presets, tmp_path, monkeypatch):
    from ultra_blocks.hf import models

    packed = []
    whole = models.pack_documents
    monkeypatch.setattr(
        models, "pack_documents", lambda *args, **kwargs: packed.append(1) or whole(*args, **kwargs)
    )
    keys = [f"base_model={finished_run}", "training.max_steps=1", "training.classification.pooling=mean"]
    run = execute(load_preset(presets["classification"], keys), output_dir=tmp_path, device="cpu")
    assert packed
    config = json.loads((run / "model" / "config.json").read_text("utf-8"))
    assert config["architectures"] == ["UltraForSequenceClassification"]
    assert config["classifier_pooling"] == "mean"


def test_faults_before_a_model_is_loaded(presets, tmp_path, monkeypatch):
    monkeypatch.setattr("ultra_train.tasks.labelled.run.labelled_model", None)
    for key, message in {
        "labels=[abre, cierra]": "is not in labels",
        "columns={text: frase}": "has no column 'frase'",
        "class_weights={abrir: 2.0}": "the data have no label 'abrir'",
    }.items():
        loaded = load_preset(presets["classification"], [f"training.classification.{key}"])
        with pytest.raises((DataError, UltraError), match=message):
            execute(loaded, output_dir=tmp_path, device="cpu")
