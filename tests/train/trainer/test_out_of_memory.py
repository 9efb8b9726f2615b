"""Memory that runs out in a micro-batch: smaller parts, the same losses, the same position in the data."""

import itertools

import pytest
import torch

from support.tiny_run import write_preset
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.config import load_preset
from ultra_train.run.execution import execute
from ultra_train.tasks.mlm.evaluation import MLMTrainer
from ultra_train.trainer.out_of_memory import OutOfMemory, is_out_of_memory

SETTINGS = ("training.batch_size=8", "model.dropout=0.0", "training.max_steps=4", "training.eval_fraction=0")


@pytest.fixture(scope="module")
def preset_path(tmp_path_factory):
    return write_preset(tmp_path_factory.mktemp("memory"))


@pytest.fixture
def doubles(monkeypatch):
    """Train in float64, so that sums in another order differ by rounding of that only."""
    built = MLMTrainer.__init__

    def init(self, *args, model, **kwargs):
        built(self, *args, model=model.double(), **kwargs)

    monkeypatch.setattr(MLMTrainer, "__init__", init)


def run(
    preset_path,
    folder,
    name,
    *,
    largest=None,
    calls=0,
    fit=True,
    monkeypatch=None,
    error=torch.OutOfMemoryError,
):
    """Train; a micro-batch of more rows than ``largest`` runs out of memory, with its gradients half done.

    The first ``calls`` micro-batches never do.
    """
    if largest is not None:
        computed, count = MLMTrainer.compute_loss, itertools.count()

        def compute_loss(self, model, inputs, *args, **kwargs):
            loss = computed(self, model, inputs, *args, **kwargs)
            if next(count) >= calls and len(inputs["labels"]) > largest:
                loss.backward()
                _raise(error)
            return loss

        monkeypatch.setattr(MLMTrainer, "compute_loss", compute_loss)
    preset = load_preset(preset_path, SETTINGS)
    path = execute(preset, name=name, output_dir=folder, device="cpu", fit_memory=fit)
    return MetricsFile(path / "metrics.jsonl").read()


def _raise(error):
    raise error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 123 bytes")


def losses(records):
    return [record["loss"] for record in records if "loss" in record and "event" not in record]


@pytest.fixture(scope="module")
def whole(preset_path, tmp_path_factory):
    """The losses of a run with enough memory, in float64."""
    with pytest.MonkeyPatch.context() as patch:
        built = MLMTrainer.__init__
        patch.setattr(
            MLMTrainer,
            "__init__",
            lambda self, *args, model, **kwargs: built(self, *args, model=model.double(), **kwargs),
        )
        return losses(run(preset_path, tmp_path_factory.mktemp("whole"), "whole"))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_the_update_is_computed_again_in_parts(preset_path, tmp_path, whole, doubles, monkeypatch, error):
    records = run(preset_path, tmp_path, "divided", largest=3, monkeypatch=monkeypatch, error=error)
    assert losses(records) == pytest.approx(whole, rel=1e-9)
    events = [record for record in records if record.get("event") == "out_of_memory"]
    assert [event["parts"] for event in events] == [2 ** (i + 1) for i in range(len(events))]
    assert events


def test_the_micro_batches_before_it_are_computed_again_too(
    preset_path, tmp_path, whole, doubles, monkeypatch
):
    records = run(preset_path, tmp_path, "second", largest=3, calls=3, monkeypatch=monkeypatch)
    assert losses(records) == pytest.approx(whole, rel=1e-9)
    first = next(record for record in records if record.get("event") == "out_of_memory")
    assert (first["step"], first["parts"]) == (2, 2)


def test_without_fit_memory_the_run_ends_with_the_remedies(preset_path, tmp_path, monkeypatch):
    with pytest.raises(
        OutOfMemory, match=r"memory ran out in update 1.*Halve training\.batch_size.*estimate"
    ):
        run(preset_path, tmp_path, "ends", largest=3, fit=False, monkeypatch=monkeypatch)


def test_a_single_row_that_does_not_fit_ends_the_run(preset_path, tmp_path, monkeypatch):
    with pytest.raises(OutOfMemory, match="a pass was a single row already"):
        run(preset_path, tmp_path, "single", largest=0, monkeypatch=monkeypatch)


def test_memory_that_runs_out_in_the_optimizer_is_explained(preset_path, tmp_path, monkeypatch):
    monkeypatch.setattr(MLMTrainer, "create_scheduler", lambda *_, **__: _raise(MemoryError))
    with pytest.raises(OutOfMemory, match=r"memory ran out \(.*\)\. Halve"):
        run(preset_path, tmp_path, "optimizer", monkeypatch=monkeypatch)


def test_which_errors_are_about_memory():
    wrapped = ValueError("failed on a batch")
    wrapped.__cause__ = RuntimeError("CUDA error: out of memory")
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory."), wrapped):
        assert is_out_of_memory(error)
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None, ValueError("memory")):
        assert not is_out_of_memory(error)
