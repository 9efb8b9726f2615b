"""Notices before a run of a sparse preset."""

from __future__ import annotations

from collections.abc import Iterator

from ultra_core.config import KeyPath
from ultra_core.errors import listed
from ultra_train.config.form import Written
from ultra_train.config.integrations import reports_to
from ultra_train.tasks.sparse.preset import SparseFile
from ultra_train.tasks.sparse.sections import SparseDataset


def notices(preset: SparseFile, written: Written) -> tuple[str, ...]:
    """Return a line each for keys without effect, other names of keys and choices, and a missing device.

    Args:
        preset: the sections, without faults.
        written: the file that they come from.
    """
    idle = [key for key in _idle(preset) if _path(key) in written.given]
    idle += [f"datasets.{name}.paws_data_dir" for name in _without_paws(preset)]
    if preset.mlflow is not None and not reports_to("mlflow", preset.training.report_to):
        idle.append("mlflow")
    lines = [f"no effect in this run: {listed(idle)}"] if idle else []
    lines += [f"other names: {listed(written.renamed)}"] if written.renamed else []
    return (*lines, *_device(preset))


def _path(key: str) -> KeyPath:
    return tuple(key.split("."))


def _idle(preset: SparseFile) -> Iterator[str]:
    """Yield the keys that, if a file sets them, do nothing in this run."""
    model, training = preset.model, preset.training
    if model.architecture != "inference-free-splade":
        yield from ("training.query_learning_rate", "router", "model.freeze_static_embedding")
    if model.architecture != "csr":
        yield from ("model.csr_k", "model.csr_k_aux", "model.csr_hidden_dim", "loss.aux_loss_weight")
    else:
        yield from ("loss.query_regularizer_weight", "loss.document_regularizer_weight")
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
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    best = next(device for device, has in there.items() if has)
    if not there[wanted]:
        yield f"hardware.device: there is no {wanted} on this machine; the best that is there is {best}"
