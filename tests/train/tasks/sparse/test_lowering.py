"""Every key of ``training`` of a sparse preset acts on a run, by the key of every run that means the same."""

import ast
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest

import ultra_train
from ultra_train.tasks.sparse.lowering import RENAMED, SAME, UNLIMITED, lowered
from ultra_train.tasks.sparse.run import SparseRun
from ultra_train.tasks.sparse.sections import (
    SparseDataset,
    SparseEvaluation,
    SparseHardware,
    SparseLoss,
    SparseModel,
    SparseRouter,
    SparseTraining,
)

ROWS = [
    ("training.per_device_train_batch_size=5", "batch_size", 5),
    ("training.warmup_ratio=0.25", "scheduler_warmup_ratio", 0.25),
    ("training.max_grad_norm=2.0", "grad_clip_max_norm", 2.0),
    ("training.torch_compile=true", "compile", True),
    ("training.logging_steps=7", "telemetry_log_interval", 7),
    ("training.dataloader_num_workers=3", "dataloader_workers", 3),
    ("training.bf16=true", "precision", "bf16"),
    ("training.fp16=true", "precision", "fp16"),
    ("training.max_steps=9", "max_steps", 9),
    ("training.max_steps=-1", "max_steps", None),
    ("training.eval_strategy=no", "eval_fraction", 0.0),
    ("training.save_strategy=no", "checkpoint_every_n_steps", UNLIMITED),
    ("training.save_steps=40", "checkpoint_every_n_steps", 40),
    ("training.save_total_limit=5", "max_rolling_checkpoints", 5),
    ("training.save_total_limit=null", "max_rolling_checkpoints", UNLIMITED),
    ("training.metric_for_best_model=dot_ndcg@10", "best_metric", "eval_dot_ndcg@10"),
    ("training.hub_strategy=end", "hub_strategy", "end"),
    ("hardware.tf32=true", "tf32", True),
    ("hardware.gradient_checkpointing=true", "activation_checkpointing", True),
    ("training.max_nan_retries=1", "max_nan_retries", 1),
]


@pytest.mark.parametrize(("override", "key", "value"), ROWS, ids=[row[0] for row in ROWS])
def test_a_key_means(load, sparse, override, key, value):
    assert getattr(lowered(load(sparse, override)), key) == value


SECTIONS = (
    SparseModel,
    SparseTraining,
    SparseLoss,
    SparseDataset,
    SparseEvaluation,
    SparseRouter,
    SparseHardware,
)
JUDGED = ("sections", "rules", "notices", "synonyms", "preset")
"""Modules that declare keys, or only judge them."""


def test_every_key_is_read_by_what_runs():
    read = {*RENAMED, *SAME, "source", "use_router"}
    for path in Path(ultra_train.__file__).parent.joinpath("tasks", "sparse").glob("*.py"):
        if path.stem not in JUDGED:
            nodes = ast.walk(ast.parse(path.read_text("utf-8")))
            read |= {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    of_builders = {"tasks", "paws_data_dir", "scandiqa_languages", "languages"}
    of_builders |= {f.name for f in attrs.fields(SparseDataset) if f.name.startswith("use_")}
    for section in SECTIONS:
        assert {field.name for field in attrs.fields(section)} - of_builders <= read


def run_of(preset, measure="held_out"):
    """Return what knows the length of a run, without data and model."""
    run = SimpleNamespace(options=preset, training=lowered(preset), measure=measure)
    loader = SimpleNamespace(plan=SimpleNamespace(batches=lambda epoch: 10 + epoch))
    run.steps = lambda **more: SparseRun.steps(run, loader, **more)
    run.fitted = lambda *given: SparseRun.fitted(run, *given)
    return run


@pytest.mark.parametrize(
    ("overrides", "updates"),
    [
        ([], 10),
        (["training.num_train_epochs=2"], 21),
        (["training.num_train_epochs=1.5"], 10 + 6),
        (["training.num_train_epochs=0.01"], 1),
        (["training.gradient_accumulation_steps=3"], 4),
        (["training.max_steps=7"], 7),
    ],
)
def test_the_length_of_a_run(load, sparse, overrides, updates):
    assert run_of(load(sparse, *overrides)).steps() == updates


def test_several_processes_share_the_epochs(load, sparse):
    assert run_of(load(sparse)).steps(world_size=4) == 3


@pytest.mark.parametrize(
    ("overrides", "evaluates", "saves", "best"),
    [
        ([], 500, 500, 0),
        (["training.eval_strategy=epoch", "training.save_strategy=epoch"], 12, 12, 0),
        (["training.save_strategy=best"], 500, UNLIMITED, 1),
        (["training.load_best_model_at_end=true"], 500, 500, 1),
    ],
)
def test_what_happens_at_which_update(load, sparse, overrides, evaluates, saves, best):
    fitted = run_of(load(sparse, *overrides)).fitted(100, 12.4)
    assert (fitted.eval_every_n_steps, fitted.checkpoint_every_n_steps) == (evaluates, saves)
    assert fitted.num_best_checkpoints == best
    assert fitted.scheduler_total_steps == fitted.max_steps == 100


def test_the_best_model_without_the_hub_is_that_of_the_held_out_texts(load, sparse):
    preset = load(sparse, "training.metric_for_best_model=eval_NanoBEIR_mean_dot_ndcg@10")
    assert run_of(preset, "nanobeir").fitted(10, 5).best_metric == "eval_NanoBEIR_mean_dot_ndcg@10"
    assert run_of(preset, "held_out").fitted(10, 5).best_metric == "eval_dot_ndcg@10"
