"""Notices before a run of a sparse preset."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from ultra_core.config import KeyPath
from ultra_core.errors import listed
from ultra_train.config.form import Written
from ultra_train.config.integrations import reports_to
from ultra_train.tasks.sparse.devices import devices
from ultra_train.tasks.sparse.optimizer import section_of
from ultra_train.tasks.sparse.preset import SparseFile
from ultra_train.tasks.sparse.sections import SparseDataset


def notices(preset: SparseFile, written: Written) -> tuple[str, ...]:
    """Return a line each for keys without effect, other names of keys and choices, and a missing device.

    Args:
        preset: the sections, without faults.
        written: the file that they come from.
    """
    idle = [key for key in _idle(preset) if _path(key) in written.given and not _is_default(preset, key)]
    idle += [f"datasets.{name}.paws_data_dir" for name in _without_paws(preset)]
    if preset.mlflow is not None and not reports_to("mlflow", preset.training.report_to):
        idle.append("mlflow")
    lines = [f"no effect in this run: {listed(idle)}"] if idle else []
    lines += [f"other names: {listed(written.renamed)}"] if written.renamed else []
    return (*lines, *_device(preset))


def _is_default(preset: SparseFile, key: str) -> bool:
    """Whether a key has its default, as most keys of a file have that was written by a run."""
    *above, name = key.split(".")
    section = getattr(preset, above[0]) if above else preset
    field = attrs.fields_dict(type(section))[name]
    made = isinstance(field.default, attrs.Factory)  # type: ignore[arg-type]
    default = field.default.factory() if made else field.default  # type: ignore[union-attr]
    return bool(getattr(section, name) == default)


def _path(key: str) -> KeyPath:
    return tuple(key.split("."))


def _idle(preset: SparseFile) -> Iterator[str]:
    """Yield the keys that, if a file sets them, do nothing in this run."""
    model, training = preset.model, preset.training
    if model.architecture != "inference-free-splade":
        yield from ("training.query_learning_rate", "router.mapping", "model.freeze_static_embedding")
    if model.architecture != "csr":
        yield from ("model.csr_k", "model.csr_k_aux", "model.csr_hidden_dim", "loss.aux_loss_weight")
    else:
        yield from (
            "loss.query_regularizer_weight",
            "loss.document_regularizer_weight",
            "model.pooling_strategy",
            "model.patch_sigmoid_for_sparsity",
            "evaluation.log_decoded_samples",
        )
    if preset.loss.type != "cached_splade_loss":
        yield "loss.mini_batch_size"
    if preset.evaluation.evaluator != "sparse_nanobeir":
        yield "evaluation.nanobeir_datasets"
    if training.eval_strategy == "no":
        yield from ("evaluation.evaluator", "evaluation.log_decoded_samples")
    if training.optimizer is not None and "lr" in section_of(preset).parsed.options:
        yield "training.learning_rate"
    if training.early_stopping_patience is None:
        yield "training.early_stopping_threshold"
    if not training.push_to_hub:
        yield from (f"training.hub_{key}" for key in ("model_id", "strategy", "private_repo"))
    if training.max_steps > 0:
        yield "training.num_train_epochs"
    if training.eval_strategy != "steps":
        yield "training.eval_steps"
    if training.save_strategy != "steps":
        yield "training.save_steps"
    if training.dataloader_num_workers == 0:
        yield "training.dataloader_prefetch_factor"


def _without_paws(preset: SparseFile) -> Iterator[str]:
    for name, entry in preset.datasets.items():
        if isinstance(entry, SparseDataset) and entry.paws_data_dir is not None and not entry.use_paws:
            yield name


def _device(preset: SparseFile) -> Iterator[str]:
    wanted = preset.hardware.device
    if wanted in (None, "cpu"):
        return
    if wanted not in (there := devices()):
        yield f"hardware.device: there is no {wanted} on this machine; the best that is there is {there[0]}"
