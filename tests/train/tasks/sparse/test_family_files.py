"""Presets of sparse encoders as others of the family write them; keys of other tools."""

from typing import Any

import pytest

from ultra_core.config import parse_source
from ultra_train.config import to_tree, to_yaml
from ultra_train.config.suggestions import key_places
from ultra_train.config.synonyms import flattened
from ultra_train.tasks.sparse.preset import SparseFile
from ultra_train.tasks.sparse.synonyms import SYNONYMS

SPARSE_ROWS: list[tuple[str, tuple[str, ...], Any]] = [
    ("datasets.nli.split_ratio=[0.98, 0.01, 0.01]", ("datasets", "nli", "split_ratio"), [0.98, 0.01, 0.01]),
    ("datasets.nli.split_ratio=0.9", ("datasets", "nli", "split_ratio"), 0.9),
    ("datasets.ddsc.tasks=null", ("datasets", "ddsc", "tasks"), None),
    ("datasets.nli.languages=null", ("datasets", "nli", "languages"), None),
    (
        "datasets.scandi_qa.paws_data_dir=data/x-final",
        ("datasets", "scandi_qa", "paws_data_dir"),
        "data/x-final",
    ),
    (
        "datasets.eti={enabled: true, source: me/eti, columns: {query: q}, split_ratio: [0.8, 0.1, 0.1], "
        "languages: [nb]}",
        ("datasets", "eti"),
        {
            "enabled": True,
            "source": "me/eti",
            "kind": None,
            "hard_negatives": None,
            "teacher": None,
            "columns": {"query": "q"},
            "languages": ["nb"],
            "split_ratio": [0.8, 0.1, 0.1],
        },
    ),
    ("model.patch_sigmoid_for_sparsity=true", ("model", "patch_sigmoid_for_sparsity"), True),
    ("model.load_pretrained_sparse_encoder=true", ("model", "load_pretrained_sparse_encoder"), True),
    ("training.early_stopping_patience=3", ("training", "early_stopping_patience"), 3),
    ("training.early_stopping_threshold=0.001", ("training", "early_stopping_threshold"), 0.001),
    ("training.report_to=[tensorboard, mlflow]", ("training", "report_to"), ["tensorboard", "mlflow"]),
    ("datasets.sampling_strategy=ROUND_ROBIN", ("datasets", "sampling_strategy"), "round_robin"),
    ("datasets.sampling_strategy=Proportional", ("datasets", "sampling_strategy"), "proportional"),
    ("training.batch_sampler=NO_DUPLICATES", ("training", "batch_sampler"), "no_duplicates"),
    ("training.eval_strategy=STEPS", ("training", "eval_strategy"), "steps"),
]


@pytest.mark.parametrize(("override", "path", "value"), SPARSE_ROWS, ids=[row[0][:50] for row in SPARSE_ROWS])
def test_sparse_presets(load, sparse, validator, override, path, value):
    preset = load(sparse, override)
    found: Any = to_tree(preset)
    for part in path:
        found = found[part]
    assert found == value
    assert load(to_yaml(preset)) == preset
    assert list(validator.iter_errors(parse_source(sparse, [override]).tree)) == []
    written = override.partition("=")[2]
    assert any(line.startswith("other names") for line in preset.notices) == (
        isinstance(value, str) and value != written
    )


def test_enumerations_by_their_class(load, sparse):
    preset = load(sparse, "training.batch_sampler=BatchSamplers.NO_DUPLICATES")
    assert preset.training.batch_sampler == "no_duplicates"


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("datasets.nli.split_ratio=[0.9, 0.2, 0.1]", "datasets.nli.split_ratio"),
        ("datasets.nli.split_ratio=[0.9, 0.1]", "datasets.nli.split_ratio"),
        ("datasets.sampling_strategy=ROBIN_ROUND", "datasets.sampling_strategy"),
        ("datasets.nli.tasks=[x]", "datasets.nli.tasks"),
        ("training.early_stopping_patience=0", "training.early_stopping_patience"),
    ],
)
def test_sparse_faults(problems, sparse, override, key):
    assert [fault.key for fault in problems(sparse, override)] == [key]


def test_early_stopping_needs_evaluations(problems, sparse):
    (fault,) = problems(sparse, "training.early_stopping_patience=2", "training.eval_strategy=no")
    assert fault.key == "training.early_stopping_patience"


def test_a_device_that_is_not_there(load, sparse, monkeypatch):
    import torch

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (line,) = load(sparse, "hardware.device=mps").notices
    assert line == "hardware.device: there is no mps on this machine; the best that is there is cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert load(sparse, "hardware.device=mps").notices == ()


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("training.batch_size", "training.per_device_train_batch_size"),
        ("training.lr", "training.learning_rate"),
        ("learning_rate", "training.learning_rate"),
        ("base_model", "model.base_model"),
        ("training.activation_checkpointing", "hardware.gradient_checkpointing"),
        ("training.gradient_checkpointing", "hardware.gradient_checkpointing"),
        ("training.document_regularizer_weight", "loss.document_regularizer_weight"),
        ("dataset", "datasets"),
    ],
)
def test_the_key_that_is_meant(problems, sparse, key, meant):
    (fault,) = problems(sparse, f"{key}=1")
    assert f"did you mean {meant}?" in fault.message


def test_every_target_is_a_key_and_no_synonym_is_one_there():
    known = {path for places in key_places(SparseFile).values() for path in places}
    for name, target in SYNONYMS.items():
        *section, _ = path = tuple(target.split("."))
        assert path in known
        assert name not in {flattened(place[-1]) for place in known if place[:-1] == tuple(section)}
