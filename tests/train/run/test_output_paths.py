"""Places that get into each other's way are refused before anything is made."""

from __future__ import annotations

import re

import pytest

from ultra_train.config import TrainingConfig
from ultra_train.run.folder_lock import RunFolderError
from ultra_train.run.output_paths import check_no_overlap, check_output_paths

CACHE, MODEL, TABLE = "training.cache_dir", "training.hf_output_dir", "training.csv_log_path"


def training(tmp_path, **places):
    places = {key: str(tmp_path / name) for key, name in places.items()}
    return TrainingConfig(task="mlm", **{"cache_dir": str(tmp_path / "cache"), **places})


@pytest.mark.parametrize("model", ["out", "out/model"])
@pytest.mark.parametrize("table", ["out", "out/model", "out/model/steps.csv"])
def test_a_model_and_a_table_are_never_within_each_other(tmp_path, model, table):
    places = training(tmp_path, hf_output_dir=model, csv_log_path=table)
    with pytest.raises(RunFolderError, match=rf"{MODEL} \(.*{TABLE} \(.*Name another place"):
        check_no_overlap(places, tmp_path / "runs" / "a")


OWN = [
    "config.yaml",
    "metrics.jsonl",
    ".lock",
    "made.json",
    "rollbacks.json",
    "report.html",
    "tokenizer",
    "tokenizer/x",
    "checkpoints",
    "checkpoints/checkpoint-2",
    "tensorboard",
]


@pytest.mark.parametrize(
    ("key", "name"),
    [(key, name) for key in (CACHE, MODEL, TABLE) for name in OWN] + [(CACHE, "model"), (TABLE, "model/x")],
)
def test_what_a_run_writes_anyway_is_no_place_for_anything_else(tmp_path, key, name):
    places = training(tmp_path, **{key.removeprefix("training."): f"runs/a/{name}"})
    with pytest.raises(
        RunFolderError, match=rf"{key}: .*itself writes .{re.escape(name.partition('/')[0])} in"
    ):
        check_no_overlap(places, tmp_path / "runs" / "a")
    check_no_overlap(places, tmp_path / "runs" / "b")


@pytest.mark.parametrize("key", [CACHE, MODEL])
@pytest.mark.parametrize("table", [{}, {"csv_log_path": "runs/a/metrics.csv"}, {"csv_log_path": "other"}])
def test_no_folder_is_in_the_place_of_the_table(tmp_path, key, table):
    place = table.get("csv_log_path", "runs/a/metrics.csv")
    places = training(tmp_path, **table, **{key.removeprefix("training."): f"{place}/x"})
    with pytest.raises(RunFolderError, match=rf"{key} .*{TABLE} .*a file cannot be a folder"):
        check_no_overlap(places, tmp_path / "runs" / "a")


def test_links_and_relative_names_hide_nothing(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    for name in ("../runs/a/config.yaml", str(tmp_path / "link" / "a" / "config.yaml")):
        for run in (tmp_path / "runs" / "a", tmp_path / "link" / "a"):
            with pytest.raises(RunFolderError, match=rf"{TABLE}: .*config\.yaml"):
                check_no_overlap(TrainingConfig(task="mlm", csv_log_path=name), run)


@pytest.mark.parametrize(
    "places",
    [
        {},
        {"csv_log_path": "runs/a/metrics.csv", "hf_output_dir": "runs/a/model"},
        {"csv_log_path": "runs/a/steps.csv", "cache_dir": "runs/a/cache"},
        {"csv_log_path": "cache/steps.csv", "hf_output_dir": "cache/model"},
        {"hf_output_dir": "runs"},
        {"hf_output_dir": "out", "csv_log_path": "out.csv"},
    ],
)
def test_other_places_are_free(tmp_path, places):
    check_output_paths(training(tmp_path, **places))
    check_no_overlap(training(tmp_path, **places), tmp_path / "runs" / "a")
    assert not list(tmp_path.iterdir())


def test_a_table_that_is_a_folder_is_refused(tmp_path):
    (tmp_path / "logs").mkdir()
    with pytest.raises(
        RunFolderError, match=rf"{TABLE}: .*logs is a folder; name a file, .*logs/metrics.csv"
    ):
        check_output_paths(training(tmp_path, csv_log_path="logs"))


@pytest.mark.parametrize("name", ["model", "checkpoints"])
def test_a_link_to_nothing_in_the_place_of_a_folder_is_refused(tmp_path, name):
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    (run / name).symlink_to(tmp_path / "nothing")
    with pytest.raises(RunFolderError, match=f"{name}' of the run: .*{name} is a broken link"):
        check_no_overlap(training(tmp_path), run)
    (tmp_path / "nothing").mkdir()
    check_no_overlap(training(tmp_path), run)


@pytest.mark.parametrize("key", ["cache_dir", "hf_output_dir", "csv_log_path"])
def test_neither_is_anything_made_below_one(tmp_path, key):
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(RunFolderError, match=rf"training.{key}: .*link is a broken link"):
        check_output_paths(training(tmp_path, **{key: "link/x"}))
