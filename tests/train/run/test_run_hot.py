"""Runs on a GPU that gets too hot; the processor stands in for it."""

from __future__ import annotations

import pytest
import torch

from ultra_train.callbacks.gpu import GpuCallback, HeatLimits
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.callbacks.nvml import Reading
from ultra_train.cli.app import main
from ultra_train.run import callbacks, records
from ultra_train.trainer.checkpoints.folders import list_checkpoints

LIMITS = HeatLimits(pause=90, resume=80, critical=95, poll_seconds=0.0)


class Gpu:
    """A GPU whose temperature is read once an update: 50 C, but for some updates."""

    def __init__(self, **hot):
        self.hot, self.reads = {int(k[1:]): v for k, v in hot.items()}, 0

    def read(self):
        self.reads += 1
        return Reading(float(self.hot.get(self.reads, 50)))

    def advice(self):
        return ""


@pytest.fixture
def heat(monkeypatch):
    """Give the next runs a GPU, and other devices to go to."""

    def give(gpu, others=()):
        def guard(training, trainer, process, interrupt):
            return GpuCallback(
                gpu,
                LIMITS,
                agreement=trainer.agreement,
                metrics={},
                notify=process.say,
                record=trainer.settings.on_event,
                others=dict(others),
            )

        monkeypatch.setattr(callbacks, "_gpu", guard)

    return give


def model(folder):
    return (folder / "model" / "model.safetensors").read_bytes()


def test_at_the_critical_temperature_it_can_be_started_again_and_loses_nothing(
    heat, tiny_preset, finished_run, tmp_path, capsys, monkeypatch
):
    heat(Gpu(_6=96))
    arguments = ["run", str(tiny_preset), "--output-dir", str(tmp_path), "--device", "cpu"]
    assert main(arguments) == 75
    said = capsys.readouterr().err
    assert "error: the GPU reached 96 C: stopped after update 6 of 12, and a checkpoint is saved" in said
    assert "--resume" in said
    folder = tmp_path / "tiny"
    assert list_checkpoints(folder / "checkpoints")[0].step == 6
    assert ">stopped" in (folder / "report.html").read_text()
    assert "the GPU reached 96 C" in (folder / "report.html").read_text()
    heat(Gpu(_2=97))
    with monkeypatch.context() as patch:
        patch.setattr(records, "write_report", lambda path: 1 / 0)
        assert main([*arguments, "--resume"]) == 75
    said = capsys.readouterr()
    assert "notice: report.html could not be written: division by zero" in said.out
    assert "error: the GPU reached 97 C: stopped after update 8 of 12" in said.err
    heat(Gpu())
    assert main([*arguments, "--resume"]) == 0
    assert model(folder) == model(finished_run)


def test_it_goes_on_on_another_device_as_if_nothing_had_happened(
    heat, run_tiny, finished_run, tmp_path, capsys
):
    gpu = Gpu(_5=91)
    heat(gpu, {torch.device("cpu"): Gpu()})
    folder = run_tiny(tmp_path)
    assert model(folder) == model(finished_run)
    assert "GPU at 91 C: continuing on cpu" in capsys.readouterr().out
    (moved,) = [r for r in MetricsFile(folder / "metrics.jsonl").read() if r.get("event") == "moved"]
    assert (moved["step"], moved["reason"]) == (5, "91 C")
    assert gpu.reads == 12
