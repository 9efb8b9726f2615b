"""Presets of sparse encoders: typed, checked, told apart by model.architecture."""

import pytest

from ultra_core import tasks
from ultra_core.config import ConfigError
from ultra_train.config import load_any
from ultra_train.tasks.sparse.preset import SparsePreset


def test_a_sparse_preset_loads(load, sparse):
    preset = load(sparse)
    assert isinstance(preset, SparsePreset)
    assert preset.task == "inference_free_splade"
    assert preset.model.use_router is True
    assert preset.datasets["nli"].split_ratio == 0.9


def test_its_task_must_be_installed(problems, sparse, monkeypatch):
    known = tasks.entry

    def entry(name):
        return known("gone" if name == "inference_free_splade" else name)

    monkeypatch.setattr(tasks, "entry", entry)
    (fault,) = problems(sparse)
    assert fault.key == "model.architecture"
    assert "unknown task 'gone'" in fault.message


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
    (
        ["training.load_best_model_at_end=true", "training.save_steps=750"],
        "training.save_steps",
        "multiple of eval_steps (500)",
    ),
    (
        ["router.learning_rate_patterns={'(x': 1e-3}"],
        "router.learning_rate_patterns.(x",
        "regular expression",
    ),
    (["hardware.world_size=2"], "hardware.world_size", "distributed"),
    (["training.query_learning_rat=1"], "training.query_learning_rat", "Did you mean"),
    (["model.architecture=spald"], "model.architecture", "splade"),
    (["optimizer=x"], "optimizer", "unknown key"),
]


@pytest.mark.parametrize(("overrides", "key", "message"), RULES, ids=[key for _, key, _ in RULES])
def test_contradictions(sparse, problems, overrides, key, message):
    found = {fault.key: fault.message for fault in problems(sparse, *overrides)}
    assert key in found
    assert message in found[key]


def test_a_data_set_of_ones_own(load, sparse):
    preset = load(sparse, "datasets.own={source: me/pairs}", "training.report_to=none")
    assert preset.datasets["own"].source == "me/pairs"
    assert preset.training.report_to == ("none",)


IDLE = "no effect in this run: "
SPLADE = ["model.architecture=splade", "loss.query_regularizer_weight=3e-4"]
CSR = ["model.architecture=csr", "loss.type=csr_loss"]


@pytest.mark.parametrize(
    ("overrides", "keys"),
    [
        ([], ""),
        (["mlflow={experiment_name: e}"], "mlflow"),
        (["mlflow={experiment_name: e}", "training.report_to=mlflow"], ""),
        ([*SPLADE, "router.mapping={query: query}"], "training.query_learning_rate, router.mapping"),
        ([*CSR, "training.query_learning_rate=", "router.learning_rate_patterns={'^model.3': 1e-3}"], ""),
        ([*SPLADE, "training.query_learning_rate=", "model.csr_k=8"], "model.csr_k"),
        ([*SPLADE, "training.query_learning_rate=", "loss.aux_loss_weight=0.5"], "loss.aux_loss_weight"),
        (
            [*CSR, "loss.document_regularizer_weight=5e-3", "training.query_learning_rate="],
            "loss.document_regularizer_weight",
        ),
        (
            ["datasets.scandi_qa.use_paws=false", "datasets.scandi_qa.paws_data_dir=/"],
            "datasets.scandi_qa.paws_data_dir",
        ),
        (["training.early_stopping_threshold=0.1"], "training.early_stopping_threshold"),
        (["training.early_stopping_threshold=0.1", "training.early_stopping_patience=2"], ""),
        (
            ["training.hub_model_id=me/x", "training.hub_strategy=end"],
            "training.hub_model_id, training.hub_strategy",
        ),
        (["training.hub_model_id=me/x", "training.push_to_hub=true"], ""),
        (["training.max_steps=9", "training.num_train_epochs=2"], "training.num_train_epochs"),
        (["training.eval_strategy=epoch", "training.eval_steps=9"], "training.eval_steps"),
    ],
)
def test_keys_without_effect(load, sparse, overrides, keys):
    assert [line for line in load(sparse, *overrides).notices if line.startswith(IDLE)] == (
        [IDLE + keys] if keys else []
    )


def test_a_data_set_that_is_off_needs_no_source(load, sparse):
    assert load(sparse, "datasets.eti={enabled: false}").datasets["eti"].source is None


def test_what_is_not_on_this_machine(sparse, tmp_path):
    (tmp_path / "preset.yaml").write_text(sparse)
    overrides = [
        f"model.base_model={tmp_path}/base",
        f"datasets.nli.source={tmp_path}/nli.jsonl",
        f"datasets.scandi_qa.paws_data_dir={tmp_path}/paws",
    ]
    notices = load_any(tmp_path / "preset.yaml", overrides).notices
    assert [line.partition(": ")[0] for line in notices] == ["not usable on this machine"] * 3
    with pytest.raises(ConfigError) as caught:
        load_any(tmp_path / "preset.yaml", overrides, check_files=True)
    keys = {fault.key for fault in caught.value.faults}
    assert keys == {override.partition("=")[0] for override in overrides}
    (tmp_path / "preset.yaml").write_text(sparse)
    assert load_any(tmp_path / "preset.yaml", check_files=True).notices == ()
