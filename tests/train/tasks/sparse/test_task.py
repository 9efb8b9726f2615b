"""The tasks of sparse encoders: what they refuse, where and on what they run."""

import pytest
import torch

from ultra_core.errors import UltraError
from ultra_train.run.request import Request
from ultra_train.tasks.loading import load_task


def test_a_preset_of_another_form_cannot_name_them(problems, minimal):
    (fault,) = problems(minimal, "training.task=splade")
    assert fault.key == "training.task"
    assert "trains from presets with model.architecture" in fault.message


@pytest.mark.parametrize("processes", [2, 1])
def test_the_number_of_processes_is_the_one_of_the_preset(load, sparse, tmp_path, processes):
    preset = load(sparse, "hardware.distributed=true", f"hardware.world_size={processes}")
    task = load_task(preset.task)
    if processes == 1:
        assert task.start(preset, tmp_path, device=torch.device("cpu")).options == preset
        return
    with pytest.raises(UltraError, match="torchrun --nproc-per-node 2"):
        task.start(preset, tmp_path, device=torch.device("cpu"))


def test_the_preset_names_the_folder_and_the_device(load, sparse, tmp_path):
    preset = load(sparse, f"training.output_dir={tmp_path}/models/mine", "hardware.device=cpu")
    request = Request(preset=preset)
    assert request.choose_folder() == tmp_path / "models" / "mine"
    assert request.where == "cpu"
    elsewhere = Request(preset=preset, runs=tmp_path / "runs", name="other", device="cuda:1")
    assert elsewhere.choose_folder() == tmp_path / "runs" / "other"
    assert elsewhere.where == "cuda:1"


def test_a_device_that_is_not_there_is_not_asked_for(load, sparse, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert Request(preset=load(sparse, "hardware.device=mps")).where is None


RULES = [
    ("training.hub_strategy=checkpoint", "training.hub_strategy", "every_save or end"),
    ("training.batch_sampler=group_by_label", "training.batch_sampler", "no_duplicates"),
    ("evaluation.evaluator=nanobeir", "evaluation.evaluator", "Did you mean 'sparse_nanobeir'"),
    ("training.hub_model_id=a//b", "training.hub_model_id", "cannot name a repository"),
    ("training.scheduler_type=lineal", "training.scheduler_type", "linear"),
    ("training.optimizer={optimizer_class: adamv}", "training.optimizer.optimizer_class", "adamw"),
    (
        "training.optimizer={optimizer_class: schedulefree_adamw}",
        "training.scheduler_type",
        "scheduler_type: constant",
    ),
    ("training.gpu_temp_resume_threshold_c=95", "training.gpu_temp_resume_threshold_c", "must be below"),
]


@pytest.mark.parametrize(("override", "key", "message"), RULES, ids=[row[1] for row in RULES])
def test_what_ultra_cannot_do_is_refused_at_its_key(problems, sparse, override, key, message):
    found = {fault.key: fault.message for fault in problems(sparse, override)}
    assert list(found) == [key]
    assert message in found[key]


def test_latents_are_counted_before_the_model_is_loaded(load, sparse, tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text('{"hidden_size": 32}')
    preset = load(
        sparse,
        "model.architecture=csr",
        "loss.type=csr_loss",
        "training.query_learning_rate=",
        f"model.base_model={tmp_path}/base",
    )
    said = [line for line in preset.notices if "not usable" in line]
    assert "4 * csr_k (1024) must be at most 4 * 32" in said[0]
    assert "csr_k_aux (512) must be at most 4 * 32" in said[1]
