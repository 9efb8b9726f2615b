"""Presets of sparse encoders: typed, checked, told apart by model.architecture."""

import pytest

from ultra_train.config import SparsePreset


def test_a_sparse_preset_loads(load, sparse, later_tasks):
    preset = load(sparse)
    assert isinstance(preset, SparsePreset)
    assert preset.task == "inference_free_splade"
    assert preset.model.use_router is True
    assert preset.datasets["nli"].split_ratio == 0.9


def test_its_task_must_be_installed(problems, sparse):
    (fault,) = problems(sparse)
    assert fault.key == "model.architecture"
    assert "unknown task 'inference_free_splade'" in fault.message


RULES = [
    (["model.use_router=false"], "model.use_router", "needs router"),
    (["loss.type=csr_loss"], "loss.type", "splade_loss"),
    (["model.architecture=splade"], "loss.query_regularizer_weight", "above 0"),
    (["model.csr_hidden_dim=512"], "model.csr_k", "4 * csr_k"),
    (["model.csr_hidden_dim=400", "model.csr_k=8"], "model.csr_k_aux", "at most csr_hidden_dim"),
    (["datasets.sampling_strategy=random"], "datasets.sampling_strategy", "round_robin"),
    (["datasets.nli.use_paws=true"], "datasets.nli.use_paws", "has no key"),
    (["datasets.own={enabled: true}"], "datasets.own", "needs a source"),
    (["datasets.nli=7"], "datasets.nli", "expected"),
    (
        ["datasets.nli.enabled=false", "datasets.scandi_qa.enabled=false"],
        "datasets",
        "no data set is enabled",
    ),
    (["training.fp16=true", "training.bf16=true"], "training.bf16", "exclude"),
    (["hardware.device=mps", "training.dataloader_num_workers=2"], "training.dataloader_num_workers", "mps"),
    (["training.max_steps=0"], "training.max_steps", "-1"),
    (
        ["training.load_best_model_at_end=true", "training.eval_strategy=no"],
        "training.eval_strategy",
        "needs",
    ),
    (
        ["training.load_best_model_at_end=true", "training.save_strategy=epoch"],
        "training.save_strategy",
        "steps",
    ),
    (["hardware.world_size=2"], "hardware.world_size", "distributed"),
    (["training.query_learning_rat=1"], "training.query_learning_rat", "Did you mean"),
    (["model.architecture=spald"], "model.architecture", "splade"),
    (["optimizer=x"], "optimizer", "unknown key"),
]


@pytest.mark.parametrize(("overrides", "key", "message"), RULES, ids=[key for _, key, _ in RULES])
def test_contradictions(sparse, problems, later_tasks, overrides, key, message):
    found = {fault.key: fault.message for fault in problems(sparse, *overrides)}
    assert key in found
    assert message in found[key]


def test_a_data_set_of_ones_own(load, sparse, later_tasks):
    preset = load(sparse, "datasets.own={source: me/pairs}", "training.report_to=none")
    assert preset.datasets["own"].source == "me/pairs"
    assert preset.training.report_to == ("none",)
