"""Runs whose texts are tokenised while they train."""

import json
import shutil

import attrs
import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.ranks import on_ranks
from ultra_train.config import load_preset
from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.hub_files import hub_files
from ultra_train.system import run_files
from ultra_train.system.processes import processes
from ultra_train.tasks.mlm.evaluation import MLMTrainer
from ultra_train.tasks.mlm.streamed_texts import is_streamed
from ultra_train.tasks.mlm.training import MLMRun

STREAMED = (
    "training.stream_above_gb=0",
    "training.stream_window_documents=50",
    "training.stream_cache_gb=1e-9",
)


def _lines(run):
    return [json.loads(line) for line in (run / run_files.METRICS).read_text().splitlines()]


def _losses(run):
    return {line["step"]: line["loss"] for line in _lines(run) if "loss" in line}


def test_large_texts_are_streamed_and_small_ones_are_not(tiny_preset, tmp_path):
    preset = load_preset(tiny_preset)
    training = preset.training
    small, large = tmp_path / "a.txt", tmp_path / "b.parquet"
    small.write_text("hola")
    with large.open("wb") as file:
        file.truncate(2 * 10**9)  # holds about 5 GB of text
    sources = [DataSource(str(small)), DataSource(str(large))]
    assert is_streamed(training, training, sources)
    assert not is_streamed(training, training, sources[:1])
    part = DataSource("owner/name", split="train[:1%]")  # which the library cannot stream
    assert not is_streamed(training, training, [*sources, part])
    assert not is_streamed(attrs.evolve(training, stream_local_parquet=False), training, sources)


@pytest.fixture(scope="module")
def streamed(run_tiny, tmp_path_factory):
    """A run of one epoch, which nobody interrupted."""
    cache = tmp_path_factory.mktemp("cache")
    return run_tiny(
        tmp_path_factory.mktemp("runs"), *STREAMED, f"training.cache_dir={cache}", "training.num_epochs=1",
        "training.scheduler_total_steps=100", "training.num_workers=1",
    )  # fmt: skip


def test_a_run_ends_with_the_epoch_and_says_what_it_read(streamed):
    lines = _lines(streamed)
    steps = max(line["step"] for line in lines if "step" in line)
    assert 40 < steps < 60
    assert (streamed / "model" / "model.safetensors").exists()
    assert (streamed / "checkpoints" / f"checkpoint-{steps}").exists()
    assert lines[-1]["step"] == steps
    assert all(0 <= line["data_wait_share"] <= 1 for line in lines if "loss" in line)


def test_a_run_that_was_interrupted_and_lost_its_cache_continues_with_the_same_batches(
    streamed, run_tiny, tmp_path
):
    cache = tmp_path / "cache"
    keys = (*STREAMED, f"training.cache_dir={cache}", "training.scheduler_total_steps=100")
    run_tiny(tmp_path, *keys, "training.max_steps=8", name="cut")
    for path in cache.glob("stream-*"):
        shutil.rmtree(path)
    cut = run_tiny(tmp_path, *keys, "training.max_steps=20", name="cut", resume=True)
    found, wanted = _losses(cut), _losses(streamed)
    assert {step: wanted[step] for step in found if step in wanted} == pytest.approx(
        {step: found[step] for step in found if step in wanted}, rel=1e-6
    )
    assert len(found.keys() & wanted.keys()) >= 1


def test_a_data_set_of_the_hub_is_trained_on_without_a_copy(run_tiny, tiny_preset, tmp_path, monkeypatch):
    load, folder = datasets.load_dataset_builder, tmp_path / "served"
    folder.mkdir()
    rows = (tiny_preset.parent / "texts.txt").read_text("utf-8").splitlines()
    pq.write_table(pa.table({"text": rows}), folder / "train-00000-of-00001.parquet", row_group_size=25)
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda _, name: load(str(folder), name))
    monkeypatch.delattr(datasets, "load_dataset")  # it would copy the data set
    monkeypatch.setattr("ultra_train.tasks.texts.require_hub", lambda wanted: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    hub_files.cache_clear()
    keys = (*STREAMED, f"training.cache_dir={tmp_path}", "training.max_steps=4")
    run = run_tiny(tmp_path, *keys, "training.dataset=owner/served")
    assert (run / "model" / "model.safetensors").exists()
    (data,) = (line for line in _lines(run) if line.get("event") == "data")
    assert "owner/served" in str(data)
    hub_files.cache_clear()


def _progress(run):
    progress = json.loads((run / "checkpoints" / "checkpoint-4" / "progress.json").read_text())
    return progress["position"], progress["tokens_seen"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_processes_train_on_the_batches_of_one(run_tiny, tmp_path, monkeypatch):
    """And both say how many epochs these are, although only one of them knows the windows ahead."""
    loader, log, epochs = MLMRun.loader, MLMTrainer.log, []

    def look_ahead(self):
        made = loader(self)
        if processes().main and processes().several:
            made.positions.num_batches(0, 2)
        return made

    def note(self, logs, *rest):
        epochs.append(self.state.epoch)
        log(self, logs, *rest)

    monkeypatch.setattr(MLMRun, "loader", look_ahead)
    monkeypatch.setattr(MLMTrainer, "log", note)
    keys = (*STREAMED, "training.max_steps=4", "training.num_workers=1")
    one = run_tiny(tmp_path / "one", *keys, f"training.cache_dir={tmp_path / 'a'}")
    alone = epochs.copy()
    epochs.clear()
    alike = (f"training.cache_dir={tmp_path / 'b'}", "training.gradient_accumulation_steps=1")
    two = on_ranks(2, lambda: (run_tiny(tmp_path / "two", *keys, *alike), epochs), group=False)
    assert _progress(two[0][0]) == _progress(one)
    assert two[0][1] == two[1][1] == alone
