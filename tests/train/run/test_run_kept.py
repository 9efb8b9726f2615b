"""What a run finds is there when it ends, and a run that never trained leaves nothing."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from ultra_core.errors import UltraError
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.config import load_preset
from ultra_train.run.execution import execute
from ultra_train.tasks.mlm.training import MLMRun

SHORT = ("training.scheduler_total_steps=2", "training.eval_fraction=0")


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_of_an_earlier_run_keeps_its_rows(run_tiny, tmp_path, capsys):
    path = tmp_path / "logs" / "steps.csv"
    path.parent.mkdir()
    (tmp_path / "logs" / "steps.tmp").write_text("mine")
    asked = f"training.csv_log_path={path}"
    run_tiny(tmp_path / "runs", *SHORT, asked)
    first = path.read_text()
    second = run_tiny(tmp_path / "runs", *SHORT, asked)
    assert f"its updates go to {path.with_name('steps.2.csv')}" in capsys.readouterr().out.replace("\n", "")
    longer = ("training.scheduler_total_steps=6", "training.eval_fraction=0", "training.max_steps=3", asked)
    run_tiny(tmp_path / "runs", *longer, resume=True, name=second.name)
    assert path.read_text() == first
    assert [row["step"] for row in rows(path.with_name("steps.2.csv"))] == ["1", "2", "3"]
    assert (tmp_path / "logs" / "steps.tmp").read_text() == "mine"
    assert len(list(path.parent.iterdir())) == 3


LONGER = ("training.scheduler_total_steps=6", "training.eval_fraction=0", "training.max_steps=3")


def test_a_table_whose_name_another_run_has_taken_stays(run_tiny, tmp_path):
    path = tmp_path / "steps.csv"
    asked = f"training.csv_log_path={path}"
    first = run_tiny(tmp_path / "runs", *SHORT, asked)
    path.rename(tmp_path / "archive.csv")
    run_tiny(tmp_path / "runs", *SHORT, asked)
    second = path.read_text()
    run_tiny(tmp_path / "runs", *LONGER, asked, resume=True, name=first.name)
    assert path.read_text() == second
    assert [row["step"] for row in rows(tmp_path / "archive.csv")] == ["1", "2"]
    assert [row["step"] for row in rows(tmp_path / "steps.2.csv")] == ["1", "2", "3"]


def test_the_table_of_a_run_is_not_that_of_its_copy(run_tiny, tmp_path):
    path = tmp_path / "steps.csv"
    asked = f"training.csv_log_path={path}"
    folder = run_tiny(tmp_path / "runs", *SHORT, asked)
    before = path.read_text()
    shutil.copytree(folder, tmp_path / "runs" / "copy")
    run_tiny(tmp_path / "runs", *LONGER, asked, resume=True, name="copy")
    assert path.read_text() == before
    assert [row["step"] for row in rows(tmp_path / "steps.2.csv")] == ["1", "2", "3"]


def test_a_table_of_the_users_within_the_folder_of_the_run_stays(run_tiny, tmp_path):
    folder = run_tiny(tmp_path, *SHORT)
    (folder / "notes.csv").write_text("mine\n")
    run_tiny(tmp_path, *LONGER, f"training.csv_log_path={folder}/notes.csv", resume=True)
    assert (folder / "notes.csv").read_text() == "mine\n"
    assert [row["step"] for row in rows(folder / "notes.2.csv")] == ["1", "2", "3"]


def test_what_a_run_writes_is_no_data_of_the_next(run_tiny, tiny_preset, tmp_path, monkeypatch):
    shutil.copy(tiny_preset.parent / "texts.txt", tmp_path)
    monkeypatch.chdir(tmp_path)
    run_tiny(tmp_path / "runs", *SHORT, "training.dataset=.")
    folder = run_tiny(tmp_path / "runs", *LONGER, "training.dataset=.", resume=True)
    assert MetricsFile(folder / "metrics.jsonl").read()[-1]["step"] == 3


def test_a_hidden_folder_beside_the_finished_model_stays(run_tiny, tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main")
    run_tiny(tmp_path / "runs", *SHORT, f"training.hf_output_dir={tmp_path / 'git'}")
    assert (tmp_path / ".git" / "HEAD").read_text() == "ref: refs/heads/main"
    assert (tmp_path / "git" / "model.safetensors").is_file()


def test_a_tokenizer_within_the_folder_of_the_run_is_used_and_stays(run_tiny, finished_run, tmp_path, capsys):
    """As a run leaves it that was killed before it trained."""
    folder = tmp_path / "tiny" / "tokenizer"
    shutil.copytree(finished_run / "tokenizer", folder)
    (tmp_path / "tiny" / ".lock").touch()
    before = content(folder)
    assert run_tiny(tmp_path, *SHORT, f"tokenizer.name_or_path={folder}") == tmp_path / "tiny"
    assert content(folder) == before
    assert "tokenizer: training" not in capsys.readouterr().out


def test_a_tokenizer_of_other_texts_is_renamed(run_tiny, finished_run, tmp_path, capsys):
    other = tmp_path / "tiny" / "tokenizer"
    shutil.copytree(finished_run / "tokenizer", other)
    (other / "sentencepiece.model").write_text("of other texts")
    (tmp_path / "tiny" / ".lock").touch()
    folder = run_tiny(tmp_path, *SHORT)
    assert content(folder / "tokenizer") == content(finished_run / "tokenizer")
    assert (folder / "unused-tokenizer.1" / "sentencepiece.model").read_text() == "of other texts"
    assert "it is now unused-tokenizer.1" in capsys.readouterr().out


FAILURES = {
    "a vocabulary that is too small": ("model.vocab_size=280",),
    "data that are not there": ("training.dataset={tmp}/nothing.txt",),
    "a budget that is too small": ("training.storage_budget_gb=1e-6",),
    "rows without room": ("training.max_length=2",),
    "a model in the place of the table": (
        "training.hf_output_dir={tmp}/out",
        "training.csv_log_path={tmp}/out/steps.csv",
    ),
    "a table in the place of the run's own file": ("training.csv_log_path={tmp}/runs/tiny/config.yaml",),
    "a tokenizer that is not there": ("tokenizer.name_or_path={tmp}/nothing", "tokenizer.train=null"),
}


@pytest.mark.parametrize("overrides", FAILURES.values(), ids=list(FAILURES))
def test_a_run_that_cannot_start_leaves_no_folder(run_tiny, tmp_path, overrides):
    with pytest.raises(UltraError):
        run_tiny(tmp_path / "runs", *(o.format(tmp=tmp_path) for o in overrides))
    assert not list(tmp_path.iterdir())
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    (tmp_path / "runs" / "tiny" / ".lock").touch()
    with pytest.raises(UltraError):
        run_tiny(tmp_path / "runs", *(o.format(tmp=tmp_path) for o in overrides))
    assert content(tmp_path).keys() == {"runs/tiny/.lock"}


@pytest.mark.parametrize("stage", ["prepare", "build_model", "loader"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(5, "Input/output error")])
def test_neither_does_one_that_is_stopped_before_it_trains(run_tiny, tmp_path, monkeypatch, stage, error):
    def stop(self, *args, **kwargs):
        raise error

    monkeypatch.setattr(MLMRun, stage, stop)
    with pytest.raises(type(error) if isinstance(error, OSError) else error):
        run_tiny(tmp_path / "runs", *SHORT)
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_is_trained_once_for_the_same_texts(tiny_preset, tmp_path, capsys, monkeypatch):
    """Also when the run that trained it never started: hours may have gone into it."""

    def start(*overrides):
        cache = f"training.cache_dir={tmp_path / 'cache'}"
        preset = load_preset(tiny_preset, [*SHORT, cache, *overrides])
        execute(preset, output_dir=tmp_path / "runs", device="cpu")
        return capsys.readouterr().out

    def refuse(self):
        raise UltraError("no such model")

    with monkeypatch.context() as patch:
        patch.setattr(MLMRun, "build_model", refuse)
        with pytest.raises(UltraError, match="no such model"):
            start()
    assert not (tmp_path / "runs").exists()
    assert "tokenizer: training" in capsys.readouterr().out
    assert "tokenizer: training" not in start()
    (kept,) = (tmp_path / "cache").glob("tokenizer-*")
    (kept / "tokenizer.json").write_text("{}")
    said = start()
    assert "tokenizer: training" in said
    assert "was damaged" in said
    manifest = json.loads((kept / "manifest.json").read_text())
    assert "tokenizer.json" in manifest["files"]
    assert "tokenizer: training" in start("tokenizer.train.vocab_size=290")
    assert not list((tmp_path / "cache").glob(".tokenizer*"))
