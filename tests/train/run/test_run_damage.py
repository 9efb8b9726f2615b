"""Files of a run's folder that are damaged or lost are made anew, set aside, or refused plainly."""

from __future__ import annotations

import json
import os
import shutil
from itertools import islice

import pytest

from support.damage import COPIES, damaged
from ultra_core.errors import UltraError
from ultra_train.callbacks.csv_table import CsvTable
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.config import load_preset
from ultra_train.report.run_page import write_report
from ultra_train.run.model_folder import publish
from ultra_train.system import files
from ultra_train.system.checksums import checksum
from ultra_train.system.owned_files import OwnedFiles
from ultra_train.tasks.tokenizer_cache import provide
from ultra_train.tokenizer.loading import load_tokenizer
from ultra_train.trainer.checkpoints.folders import list_checkpoints
from ultra_train.trainer.rollbacks import Rollbacks

LONGER = ("training.max_steps=14", "training.scheduler_total_steps=16")


@pytest.fixture
def copy(finished_run, tmp_path):
    """A copy of a finished run, to be damaged."""
    return shutil.copytree(finished_run, tmp_path / "tiny")


@pytest.fixture
def unsynced(monkeypatch):
    """Do not wait for the disk: with many small files that takes longer than all the rest."""
    monkeypatch.setattr(files, "sync", lambda path: None)


@pytest.fixture(scope="module")
def longer(finished_run, run_tiny, tmp_path_factory):
    """The finished run, gone on with for two more updates."""
    folder = tmp_path_factory.mktemp("longer")
    shutil.copytree(finished_run, folder / "tiny")
    return run_tiny(folder, *LONGER, resume=True)


def weights(folder):
    return (folder / "model" / "model.safetensors").read_bytes()


def lines(folder):
    clock = ("_per_second", "_runtime", "_hours", "_share", "memory_gb")
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in r.items() if not k.endswith(clock)} for r in records]


DAMAGE = {
    "rollbacks.json": [b"{", b"[]", b'{"count": "x"}', b'{"count": 1, "skipped": [[1]]}', b"\xff"],
    "metrics.jsonl": [b"\xff\xfe\n", b'["x"]\n{"step": "x"}\n', b"[" * 50_000 + b"\n"],
    "metrics.csv": [b"\xff\x00", b"", b'"'],
    "config.yaml": [b"model_class: [", b"\xff\xfe", b""],
    "made.json": [b"[", b"5", b'{"model": 1, "table": [], "tokenizer": {"files": 3}}'],
    "tokenizer/tokenizer.json": [b"{", b"[]", b'{"model": {}}'],
    "tokenizer/tokenizer_config.json": [b"{"],
    ".lock": [b"\xff"],
}


NO_FILES = ("rollbacks.json", "metrics.jsonl", "metrics.csv", "config.yaml", "made.json", "report.html")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink(path, path)])
def test_what_is_no_file_does_not_keep_a_run_from_going_on(run_tiny, copy, longer, make, capsys):
    """Folders, pipes (which nothing may wait for) and links to themselves, all of them at once."""
    for name in NO_FILES:
        (copy / name).unlink(missing_ok=True)
        make(copy / name)
    (copy / "tokenizer" / "tokenizer.json").unlink()
    make(copy / "tokenizer" / "tokenizer.json")
    run_tiny(copy.parent, *LONGER, resume=True)
    assert weights(copy) == weights(longer)
    said = capsys.readouterr().out
    assert all(f"{name} is no file; it is now" in said for name in NO_FILES)


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_rows_of_the_table_are_not_lost_with_the_lines(run_tiny, copy, how, capsys):
    before = (copy / "metrics.csv").read_text()
    (copy / "metrics.jsonl").unlink()
    if how == "empty":
        (copy / "metrics.jsonl").touch()
    run_tiny(copy.parent, *LONGER, resume=True)
    (aside,) = copy.glob("metrics-damaged*.csv")
    assert aside.read_text() == before
    assert "metrics.jsonl has lost lines" in capsys.readouterr().out


@pytest.mark.parametrize("number", [0, 1, 2])
def test_damaged_side_files_do_not_keep_a_run_from_going_on(run_tiny, copy, longer, number, capsys):
    """All of them at once."""
    for name, contents in DAMAGE.items():
        (copy / name).write_bytes(contents[number % len(contents)])
    run_tiny(copy.parent, *LONGER, resume=True)
    assert weights(copy) == weights(longer)
    said = capsys.readouterr().out.replace("\n", "")
    assert said.count("rollbacks.json is damaged; it is now rollbacks.1.json") == 1
    assert said.count("metrics.jsonl was damaged") == 1
    assert said.count("the tokenizer of the run was damaged or missing; it is taken from") == 1
    for name in ("metrics-damaged.1.jsonl", "rollbacks.1.json", "unused-tokenizer.1"):
        assert (copy / name).exists()
    assert load_preset(copy / "config.yaml").training.max_steps == 14
    assert [r["step"] for r in lines(copy) if "loss" in r] == [13, 14]
    assert (copy / "report.html").is_file()


def test_lost_side_files_do_not_either(run_tiny, copy, longer):
    for name in DAMAGE:
        (copy / name).unlink(missing_ok=True)
    shutil.rmtree(copy / "tokenizer")
    run_tiny(copy.parent, *LONGER, resume=True)
    assert weights(copy) == weights(longer)
    tokenizers = [json.loads((f / "tokenizer" / "tokenizer.json").read_text()) for f in (copy, longer)]
    assert tokenizers[0]["model"] == tokenizers[1]["model"]


def test_the_sentencepiece_model_of_a_damaged_tokenizer_is_kept(run_tiny, copy, longer):
    (copy / "tokenizer" / "tokenizer.json").write_text("{")
    run_tiny(copy.parent, *LONGER, resume=True)
    for folder in ("tokenizer", "model"):
        models = [(f / folder / "sentencepiece.model").read_bytes() for f in (copy, longer)]
        assert models[0] == models[1]


def test_a_table_that_is_damaged_is_made_anew_from_the_lines(run_tiny, copy, longer):
    (copy / "metrics.csv").write_bytes(b'step,"\xff')
    run_tiny(copy.parent, *LONGER, resume=True)
    assert lines(copy) == lines(longer)
    head = (longer / "metrics.csv").read_text().splitlines()[:13]
    assert (copy / "metrics.csv").read_text().splitlines()[:13] == head


def test_a_checkpoint_of_an_older_version_is_gone_on_from(run_tiny, copy, longer):
    """It says nothing of the logging window, the lines or rollbacks; its run has no record of its files."""
    newest = list_checkpoints(copy / "checkpoints")[0].path
    progress, state = (
        json.loads((newest / name).read_text()) for name in ("progress.json", "trainer_state.json")
    )
    for name in ("window", "guard", "rollbacks"):
        del progress[name]
    state["stateful_callbacks"] = {"TrainerControl": state["stateful_callbacks"]["TrainerControl"]}
    (newest / "progress.json").write_text(json.dumps(progress))
    (newest / "trainer_state.json").write_text(json.dumps(state))
    manifest = json.loads((newest / "manifest.json").read_text())
    for name in ("progress.json", "trainer_state.json"):
        path = newest / name
        manifest["files"][name] = {"bytes": path.stat().st_size, "sha256": checksum(path)}
    (newest / "manifest.json").write_text(json.dumps(manifest))
    (copy / "made.json").unlink()
    run_tiny(copy.parent, *LONGER, resume=True)
    assert weights(copy) == weights(longer)
    assert lines(copy) == lines(longer)


def test_when_no_checkpoint_is_whole_the_run_says_so(run_tiny, copy):
    for checkpoint in list_checkpoints(copy / "checkpoints"):
        (checkpoint.path / "model.safetensors").write_bytes(b"")
    before = {p: p.stat().st_mtime_ns for p in copy.rglob("*") if p.name != ".lock"}
    with pytest.raises(UltraError, match=r"none of the checkpoints in .* without --resume"):
        run_tiny(copy.parent, *LONGER, resume=True)
    assert {p: p.stat().st_mtime_ns for p in copy.rglob("*") if p.name != ".lock"} == before


def test_a_checkpoint_that_was_made_to_run_code_is_passed_over(run_tiny, copy, finished_run, capsys):
    newest = list_checkpoints(copy / "checkpoints")[0]
    (newest.path / "pytorch_model.bin").write_bytes(b"\x80\x04c__builtin__\nexit\n)R.")
    (newest.path / "model.safetensors").unlink()
    manifest = newest.manifest
    del manifest["files"]["model.safetensors"]
    (newest.path / "manifest.json").write_text(json.dumps(manifest))
    run_tiny(copy.parent, resume=True)
    assert "holds pytorch_model.bin, which may be pickled code" in capsys.readouterr().out.replace("\n", "")
    assert weights(copy) == weights(finished_run)
    assert lines(copy) == lines(finished_run)


def test_rollbacks(tmp_path, unsynced):
    path, said = tmp_path / "rollbacks.json", []
    rollbacks = Rollbacks.read(path)
    rollbacks.add([(1, 2), (1, 3)], {"event": "rollback", "step": 4})
    rollbacks.write()
    before, known = path.read_bytes(), {"count": 1, "skipped": [[9, 9]], "events": []}
    for content in damaged(before, "rollbacks"):
        path.write_bytes(content)
        read = Rollbacks.read(path, checkpoint=known, notify=said.append)
        assert read.count >= 1
        read.add([(5, 5)])
        read.write()
        assert Rollbacks.read(path).skipped[-1] == (5, 5)
    assert len(said) > COPIES / 4
    assert len(list(tmp_path.glob("rollbacks.*.json"))) == len(said)


def test_metrics(tmp_path, finished_run, unsynced):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    before = (finished_run / "metrics.jsonl").read_bytes()
    event = b'{"event": "rollback", "step": 3, "reason": "x", "left_out": [[1, 2]]}\n'
    short = b"\n".join(before.splitlines()[:3]) + b"\n" + event
    one = b'{"step": 3, "loss": 2.5, "grad_norm": 1.0, "eval_accuracy": 0.5}'
    cases = [*damaged(short, "lines"), *(event + m + b"\n" for m in damaged(one, "values"))]
    for content in cases:
        file.path.write_bytes(content)
        records = file.read()
        write_report(tmp_path)
        CsvTable(tmp_path / "t.csv").rewrite(r for r in records if "loss" in r)
        file.rewind(2, {"bytes": 3, "sha256": "?"})
        file.write({"step": 3, "loss": 1.0})
        assert file.read()[-1] == {"step": 3, "loss": 1.0}


def test_the_record_of_what_was_made(tmp_path, finished_run, unsynced):
    before, asked = (finished_run / "made.json").read_bytes(), tmp_path / "steps.csv"
    (tmp_path / "run").mkdir()
    outside = tmp_path / "outside"
    outside.write_text("mine")
    for content in damaged(before, "made"):
        made = OwnedFiles(tmp_path / "run")
        made.path.write_bytes(content)
        CsvTable.of_run(asked, made).rewrite([{"step": 1}])
        publish(tmp_path / "model", lambda folder: (folder / "config.json").touch(), made, lambda line: None)
        assert made.get("model")["files"].keys() == {"config.json"}
    assert outside.read_text() == "mine"


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_the_tokenizer_of_a_run(copy, tmp_path, name, unsynced):
    path = copy / "tokenizer" / name
    before, said = path.read_bytes(), []
    for number, content in enumerate(damaged(before, name)):
        path.write_bytes(content)
        provide(copy, cache=tmp_path, about={}, train=pytest.fail, say=said.append)
        if number % 20 == 0:
            assert load_tokenizer(copy / "tokenizer").mask_token == "[MASK]"
    assert len(said) > COPIES / 2


def test_the_preset_that_a_run_recorded(copy):
    from ultra_train.cli.app import main

    """A few of them; the faults of presets have tests of their own."""
    path = copy / "config.yaml"
    refused = 0
    for content in islice(damaged(path.read_bytes(), "config"), 40):
        path.write_bytes(content)
        try:
            load_preset(path)
        except UltraError:
            refused += 1
    assert refused > 10
    assert main(["validate", str(path)]) in (0, 1, 2)
