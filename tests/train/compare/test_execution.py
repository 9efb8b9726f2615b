"""Whole comparisons: fair, the same after a kill, stopped by a signal, and failures that end nothing."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from support.forked_run import ForkedRun
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.cli.app import main

TRIALS = ["adamw-seed1", "adamw-seed2", "muon-seed1", "muon-seed2"]


def lines(folder, trial, metric):
    """Return the values of a metric of a run by update."""
    records = MetricsFile(folder / "runs" / trial / "metrics.jsonl").read()
    return {record["step"]: record[metric] for record in records if metric in record}


@pytest.fixture
def forked(tmp_path) -> Iterator:
    """Start ``ultra-train`` in a process of its own; what is left of it at the end is killed."""
    found = []

    def begin(arguments):
        found.append(ForkedRun(arguments, tmp_path / f"output{len(found)}"))
        return found[-1]

    yield begin
    for run in found:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)


def test_it_leaves_runs_tables_and_a_page(compared):
    assert sorted(p.name for p in (compared / "runs").iterdir()) == TRIALS
    for trial in TRIALS:
        run = compared / "runs" / trial
        assert (run / "model" / "model.safetensors").is_file()
        assert not (run / "checkpoints").exists()
        record = json.loads((compared / "results" / f"{trial}.json").read_text())
        assert record["status"] == "finished"
        assert record["updates"] == 4
        assert record["peak_memory"] > 1e7
    page = (compared / "comparison.html").read_text()
    assert "Loss on held-out texts" in page
    assert '<dl class=figures style="--columns:5">' in page
    assert 'http-equiv="Content-Security-Policy"' in page
    with (compared / "summary.csv").open() as file:
        rows = {row["arm"]: row for row in csv.DictReader(file)}
    assert rows["muon"]["learning_rate"] == "0.01"  # of the preset
    assert rows["adamw"]["learning_rate"] == "0.001"  # the default
    assert float(rows["muon"]["eval_loss_low"]) < float(rows["muon"]["eval_loss"])
    means = [sum(lines(compared, f"{arm}-seed{s}", "eval_loss")[4] for s in (1, 2)) / 2 for arm in rows]
    assert [float(row["eval_loss"]) for row in rows.values()] == pytest.approx(means, rel=1e-6)
    assert float(rows["adamw"]["difference_to_first"]) == pytest.approx(means[1] - means[0], rel=1e-5)


def test_arms_of_a_seed_begin_with_the_same_weights_batches_and_masks(compared):
    """The loss before the first update is that of the initial weights on the first batches and masks."""
    first = {trial: lines(compared, trial, "loss")[1] for trial in TRIALS}
    assert first["muon-seed1"] == first["adamw-seed1"]
    assert first["muon-seed2"] == first["adamw-seed2"]
    assert first["muon-seed1"] != first["muon-seed2"]
    for seed in (1, 2):
        tokens = [lines(compared, f"{arm}-seed{seed}", "tokens_seen") for arm in ("muon", "adamw")]
        assert tokens[0] == tokens[1]
    assert lines(compared, "muon-seed1", "loss") != lines(compared, "adamw-seed1", "loss")


def test_a_killed_comparison_continues_to_the_same_numbers(compared, arguments, forked, tmp_path, capsys):
    folder = tmp_path / "killed"
    given = arguments(folder, "--seeds", "1")
    run = forked(given)
    second = folder / "runs" / "adamw-seed1" / "checkpoints"
    run.wait_for(lambda: list(second.glob("checkpoint-1*")))
    os.killpg(run.pid, signal.SIGKILL)
    assert run.ended() == -signal.SIGKILL
    assert not (folder / "comparison.html").exists()

    assert main([*given, "--resume"]) == 0

    assert "1 are finished" in capsys.readouterr().out
    assert "resuming after update" in (folder / "results" / "adamw-seed1.log").read_text()
    for trial in ("muon-seed1", "adamw-seed1"):
        for metric in ("loss", "eval_loss"):
            assert lines(folder, trial, metric) == lines(compared, trial, metric)


def test_a_signal_stops_it_with_the_command_that_continues(arguments, forked, tmp_path):
    folder = tmp_path / "stopped"
    run = forked(arguments(folder))
    run.wait_for(lambda: (folder / "runs" / "muon-seed1" / "metrics.jsonl").exists())
    os.kill(run.pid, signal.SIGTERM)  # to this process alone, as a supervisor does
    assert run.ended() == 128 + signal.SIGTERM
    assert "SIGTERM: 0 of 4 runs are finished" in run.text
    assert "Continue with: ultra-train compare" in run.text
    assert list((folder / "runs" / "muon-seed1" / "checkpoints").iterdir())


def test_a_failed_run_ends_nothing(tiny_preset, tmp_path, capsys):
    folder = tmp_path / "failed"
    given = ["compare", str(tiny_preset), "--lr-factors", "1e30,1", "--steps", "3", "-o", str(folder)]
    settings = ["--set", "training.max_nan_retries=0", "--device", "cpu"]
    assert main([*given, *settings]) == 0
    said = capsys.readouterr().out
    records = {p.stem: json.loads(p.read_text()) for p in (folder / "results").glob("*.json")}
    assert {name: record["status"] for name, record in records.items()} == {
        "tiny-lr0.01-seed3": "finished",
        "tiny-lr1e+28-seed3": "failed",
    }
    reason = records["tiny-lr1e+28-seed3"]["reason"].splitlines()[0]
    assert f"tiny-lr1e+28-seed3: {reason}" in said
    assert f"tiny: {reason}" in said  # beside the table


def test_the_exit_code_is_that_of_an_error_if_no_run_finished(tiny_preset, tmp_path, capsys, monkeypatch):
    def train(order):
        raise ValueError("shapes")

    monkeypatch.setattr("ultra_train.compare.trial._train", train)
    folder = tmp_path / "none"
    assert main(["compare", str(tiny_preset), "--steps", "3", "-o", str(folder), "--device", "cpu"]) == 2
    said = capsys.readouterr()
    assert "1 arm x 1 seed = 1 run of" in said.out
    assert "ValueError: shapes" in said.out
    assert "error: no run finished" in said.err
    assert (folder / "comparison.html").is_file()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--device", "cuda:99"], "error: device 'cuda:99' is not on this machine"),
        (["--set", "training.cache_dir={file}"], "error: training.cache_dir: {file} is a file"),
        (
            ["--vary", "training.precision=fp16,fp32"],
            "precision=fp16; adamw, precision=fp16: training.precision fp16",
        ),
        (["--set", "training.dataset=some/texts"], "HF_HUB_OFFLINE is set), and this machine has no copy of"),
        (["--set", "training.hf_output_dir=x"], "training.hf_output_dir: each run of a comparison keeps"),
    ],
)
def test_what_must_fail_is_refused_once_and_leaves_nothing(
    arguments, tmp_path, capsys, monkeypatch, more, said
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (file := tmp_path / "file").touch()
    given = [each.replace("{file}", str(file)) for each in more]
    assert main(arguments(tmp_path / "new" / "folder", *given)) == 2
    error = capsys.readouterr().err
    assert error.count(said.replace("{file}", str(file))) == 1
    assert list(tmp_path.iterdir()) == [file]


def test_tokens_end_a_run_and_its_schedule(tiny_preset, tmp_path):
    folder = tmp_path / "tokens"
    given = ["compare", str(tiny_preset), "--tokens", "600", "--device", "cpu", "-o", str(folder)]
    assert main(given) == 0
    seen = lines(folder, "tiny-seed3", "tokens_seen")
    *before, last = sorted(seen.values())
    assert last >= 600 > before[-1]
    rates = lines(folder, "tiny-seed3", "lr_attention")
    assert rates[max(rates)] < 0.3 * max(rates.values())
    assert len(lines(folder, "tiny-seed3", "eval_loss")) >= 5


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--seeds", "3"], "without the runs muon-seed3, adamw-seed3"),
        (["--steps", "7"], "another budget than 7 updates"),
        (["--set", "training.batch_size=4"], "muon-seed1 has other values of training.batch_size"),
        (["--lr-factors", "1,3"], "without the runs muon-lr0.01-seed1"),
    ],
)
def test_another_command_in_its_folder_is_refused(compared, arguments, capsys, more, said):
    assert main(arguments(compared, *more)) == 2
    error = capsys.readouterr().err
    assert "belongs to another comparison" in error
    assert said in error


def test_the_same_command_shows_a_finished_comparison_again(compared, arguments, capsys):
    before = (compared / "summary.csv").read_text()
    assert main(arguments(compared)) == 0
    said = capsys.readouterr().out
    assert "4 are finished" in said
    assert "muon-seed1" not in said
    assert (compared / "summary.csv").read_text() == before
