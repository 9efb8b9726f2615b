"""Rules between the keys of a sparse preset."""

from __future__ import annotations

import re

import attrs

from ultra_core import tasks
from ultra_core.config import KeyPath
from ultra_core.errors import UltraError, did_you_mean, listed
from ultra_train.config.local_files import missing_model, unreadable_pairs
from ultra_train.config.task_declaration import Faults
from ultra_train.data.sources.files import suggestion
from ultra_train.system.files import expand_user
from ultra_train.tasks.sparse.preset import SparseFile
from ultra_train.tasks.sparse.sections import DATASET_KEYS, SparseDataset, keys_of


def faults(preset: SparseFile, given: frozenset[KeyPath]) -> Faults:
    """Yield every (key path, message) at which a sparse preset contradicts itself."""
    try:
        tasks.entry(preset.task)
    except UltraError as error:
        yield ("model", "architecture"), str(error)
    yield from _architecture(preset)
    yield from _datasets(preset, given)
    yield from _router(preset)
    yield from _training(preset)


def missing(preset: SparseFile) -> Faults:
    """Yield every (key path, message) that names a file or folder which is not there."""
    yield from missing_model(("model", "base_model"), preset.model.base_model)
    for name, entry in preset.datasets.items():
        if not isinstance(entry, SparseDataset) or not entry.enabled:
            continue
        if entry.source is not None:
            yield from unreadable_pairs(("datasets", name, "source"), entry.source)
        folder = entry.paws_data_dir
        if folder is not None and entry.use_paws and not expand_user(folder).is_dir():
            yield ("datasets", name, "paws_data_dir"), f"there is no folder {folder}.{suggestion(folder)}"


def _architecture(preset: SparseFile) -> Faults:
    model, loss = preset.model, preset.loss
    free = model.architecture == "inference-free-splade"
    if model.use_router is not None and model.use_router != free:
        yield (
            ("model", "use_router"),
            f"the architecture {model.architecture} {'needs' if free else 'has no'} router; "
            f"set use_router: {str(free).lower()} or leave it out",
        )
    expected = "csr_loss" if model.architecture == "csr" else "splade_loss"
    if loss.type != expected:
        yield ("loss", "type"), f"the architecture {model.architecture} is trained with {expected}"
    if model.architecture == "splade" and loss.query_regularizer_weight == 0:
        yield (
            ("loss", "query_regularizer_weight"),
            "regular SPLADE needs a query regulariser above 0 (3e-4 to 5e-4), or its queries grow dense",
        )
    if model.csr_hidden_dim is not None:
        if 4 * model.csr_k > model.csr_hidden_dim:
            yield (
                ("model", "csr_k"),
                f"4 * csr_k ({4 * model.csr_k}) must be at most csr_hidden_dim ({model.csr_hidden_dim})",
            )
        if model.csr_k_aux > model.csr_hidden_dim:
            yield (
                ("model", "csr_k_aux"),
                f"csr_k_aux ({model.csr_k_aux}) must be at most csr_hidden_dim ({model.csr_hidden_dim})",
            )


def _datasets(preset: SparseFile, given: frozenset[KeyPath]) -> Faults:
    strategies = ("round_robin", "proportional")
    enabled = []
    for name, entry in preset.datasets.items():
        path: KeyPath = ("datasets", name)
        if name == "sampling_strategy":
            if entry not in strategies:
                yield path, f"sampling_strategy is {entry!r}; expected one of {', '.join(strategies)}"
        elif not isinstance(entry, SparseDataset):
            yield path, f"a data set is a section with enabled and its own keys; given {entry!r}"
        else:
            allowed = keys_of(name)
            for field in attrs.fields(SparseDataset):
                if field.name not in allowed and (*path, field.name) in given:
                    hint = did_you_mean(field.name, allowed)
                    yield (
                        (*path, field.name),
                        f"{name} has no key {field.name!r}.{hint} Its keys: {listed(sorted(allowed))}",
                    )
            if isinstance(entry.split_ratio, tuple) and abs(sum(entry.split_ratio) - 1) > 1e-6:
                yield (
                    (*path, "split_ratio"),
                    f"the shares of train, dev and test sum to {sum(entry.split_ratio):g}, not to 1",
                )
            if name not in DATASET_KEYS and entry.source is None and entry.enabled:
                known = listed(sorted(DATASET_KEYS))
                yield path, f"{name} needs a source; only {known} have one of their own"
            enabled += [name] if entry.enabled else []
    if not enabled:
        yield ("datasets",), "no data set is enabled; enable one, or add one with a source"


def _router(preset: SparseFile) -> Faults:
    for pattern in preset.router.learning_rate_patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            place = ("router", "learning_rate_patterns", pattern)
            yield place, f"{pattern!r} is no regular expression: {error}"


def _training(preset: SparseFile) -> Faults:
    training = preset.training
    if training.fp16 and training.bf16:
        yield ("training", "bf16"), "fp16 and bf16 exclude each other; keep one"
    if preset.hardware.device == "mps" and training.dataloader_num_workers > 0:
        yield (
            ("training", "dataloader_num_workers"),
            "on mps the data loader has no workers; set dataloader_num_workers: 0",
        )
    if training.max_steps == 0 or training.max_steps < -1:
        yield ("training", "max_steps"), "max_steps is a number of updates, or -1 for num_train_epochs"
    if training.early_stopping_patience is not None and training.eval_strategy == "no":
        yield (
            ("training", "early_stopping_patience"),
            "early stopping compares evaluations; set eval_strategy to steps or epoch",
        )
    if training.load_best_model_at_end:
        if training.eval_strategy == "no":
            yield (
                ("training", "eval_strategy"),
                "load_best_model_at_end needs evaluations; set eval_strategy to steps or epoch",
            )
        elif training.save_strategy not in (training.eval_strategy, "best"):
            yield (
                ("training", "save_strategy"),
                f"load_best_model_at_end needs a checkpoint at every evaluation; "
                f"set save_strategy to {training.eval_strategy} or best",
            )
        elif training.save_strategy == "steps" and training.save_steps % training.eval_steps:
            yield (
                ("training", "save_steps"),
                f"load_best_model_at_end needs an evaluation for every checkpoint: save_steps "
                f"({training.save_steps}) must be a multiple of eval_steps ({training.eval_steps})",
            )
    if not preset.hardware.distributed and preset.hardware.world_size > 1:
        yield ("hardware", "world_size"), "world_size above 1 needs hardware.distributed: true"
