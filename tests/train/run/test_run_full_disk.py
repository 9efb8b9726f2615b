"""A run on a disk that is full, or has no room for it."""

from __future__ import annotations

import errno
from collections import Counter

import pytest

from ultra_core.errors import UltraError
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.run import model_folder
from ultra_train.system import disk_space, files
from ultra_train.trainer import saving


def test_on_a_full_disk_the_run_pauses_and_loses_nothing(
    run_tiny, finished_run, tmp_path, monkeypatch, capsys
):
    """Everything that a run writes meets a full disk now and then; the results are those of any run."""
    calls = Counter()

    def sometimes_full(module, name, every, named=lambda *arguments: True):
        real = getattr(module, name)

        def write(*arguments):
            if named(*arguments):
                calls[name] += 1
                if calls[name] % every == 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments)

        monkeypatch.setattr(module, name, write)

    monkeypatch.setattr(disk_space, "POLL", 0.003)
    monkeypatch.setattr(disk_space, "REMIND", 0.002)
    calls["write_text"] = calls["checksums"] = 1  # the first of them fails
    sometimes_full(files, "append", 3)
    sometimes_full(files, "write_text", 2, lambda path, text: path.name in ("config.yaml", "report.html"))
    sometimes_full(saving, "save_state", 5)
    sometimes_full(model_folder, "checksums", 2)
    folder = run_tiny(tmp_path, "training.report_to=[tensorboard]")
    monkeypatch.undo()
    said = " ".join(capsys.readouterr().out.split())
    for what in (
        "config.yaml",
        "the checkpoint of step 8",
        "the metrics of step",
        "the finished model",
        "the report",
    ):
        assert f"paused: {what}" in said, what
        assert f"there is room again for {what}" in said
    same = [(f / "model" / "model.safetensors").read_bytes() for f in (folder, finished_run)]
    assert same[0] == same[1]
    assert steps(folder) == steps(finished_run)
    left = [p for p in folder.rglob("*") if p.name.startswith(".") and p.name != ".lock"]
    assert not left


def steps(folder):
    records = MetricsFile(folder / "metrics.jsonl").read()
    return [(r["step"], r.get("loss"), r.get("eval_loss")) for r in records]


def test_a_budget_that_is_too_small_is_said_before_training(run_tiny, tmp_path):
    with pytest.raises(UltraError, match="storage_budget_gb"):
        run_tiny(tmp_path, "training.storage_budget_gb=1e-6")
