"""Rules between the keys of a sparse preset."""

from __future__ import annotations

import re

import attrs

from ultra_core import schedules, tasks
from ultra_core.config import KeyPath
from ultra_core.errors import UltraError, did_you_mean, listed
from ultra_train.config.local_files import missing_model, unreadable_pairs
from ultra_train.config.optimizer_build import build_faults
from ultra_train.config.rules import (
    name_fault,
    own_schedule_faults,
    repository_faults,
    threshold_faults,
)
from ultra_train.config.task_declaration import Faults
from ultra_train.data.sources.files import suggestion
from ultra_train.system.files import expand_user, read_json
from ultra_train.tasks.embeddings.steps import missing_step_models, step_faults
from ultra_train.tasks.sparse.inner_losses import find_inner_loss, unknown
from ultra_train.tasks.sparse.optimizer import section_of
from ultra_train.tasks.sparse.preset import SparseFile
from ultra_train.tasks.sparse.sections import DATASET_KEYS, DATASET_KINDS, SparseDataset, SparseModel, keys_of

EVALUATORS = ("sparse_nanobeir", "sparse_information_retrieval", "none")
"""NanoBEIR; retrieval among the held-out texts of the run; the loss alone."""


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
    yield from _optimizer(preset)
    yield from threshold_faults(preset.training)
    yield from repository_faults(preset.training.hub_model_id)


def missing(preset: SparseFile) -> Faults:
    """Yield every (key path, message) that names a file or folder which is not there."""
    model = preset.model
    yield from missing_model(("model", "base_model"), model.base_model)
    if model.architecture == "csr" and model.csr_hidden_dim is None:
        width = _width(model.base_model)
        if width is not None:
            yield from _latents(model, 4 * width, f"4 * {width}, the width of {model.base_model}")
    for name, entry in preset.datasets.items():
        if not isinstance(entry, SparseDataset) or not entry.enabled:
            continue
        if entry.source is not None:
            yield from unreadable_pairs(("datasets", name, "source"), entry.source)
        yield from missing_step_models(entry.hard_negatives, entry.teacher, ("datasets", name))
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
    expected = ("csr_loss",) if model.architecture == "csr" else ("splade_loss", "cached_splade_loss")
    if loss.type not in expected:
        yield (
            ("loss", "type"),
            f"the architecture {model.architecture} is trained with {' or '.join(expected)}",
        )
    inner = find_inner_loss(loss.inner_loss)
    if inner is None:
        yield ("loss", "inner_loss"), unknown(loss.inner_loss or "")
    elif loss.inner_loss_scale is not None and not inner.scaled:
        yield ("loss", "inner_loss_scale"), f"{inner.name} does not scale similarities; leave it out"
    if model.architecture == "splade" and loss.query_regularizer_weight == 0:
        yield (
            ("loss", "query_regularizer_weight"),
            "regular SPLADE needs a query regulariser above 0 (3e-4 to 5e-4), or its queries grow dense",
        )
    if model.csr_hidden_dim is not None:
        yield from _latents(model, model.csr_hidden_dim, "csr_hidden_dim")


def _latents(model: SparseModel, count: int, origin: str) -> Faults:
    """Yield the faults of numbers of active latents among a number of latents."""
    if 4 * model.csr_k > count:
        yield ("model", "csr_k"), f"4 * csr_k ({4 * model.csr_k}) must be at most {origin} ({count})"
    if model.csr_k_aux > count:
        yield ("model", "csr_k_aux"), f"csr_k_aux ({model.csr_k_aux}) must be at most {origin} ({count})"


def _width(base: str) -> int | None:
    """Return the width of a base model in a folder of this machine, or None."""
    folder = expand_user(base)
    for name in ("config.json", "0_Transformer/config.json"):
        try:
            config = read_json(folder / name)
        except (OSError, ValueError):
            continue
        width = config.get("hidden_size") if isinstance(config, dict) else None
        if type(width) is int:
            return width
    return None


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
            if entry.enabled and (entry.hard_negatives or entry.teacher):
                yield from _steps(name, entry, preset.loss.inner_loss)
            enabled += [name] if entry.enabled else []
    if not enabled:
        yield ("datasets",), "no data set is enabled; enable one, or add one with a source"


def _steps(name: str, entry: SparseDataset, inner: str | None) -> Faults:
    """Yield what does not fit together among the steps of a data set."""
    if (loss := find_inner_loss(inner)) is not None:
        kind = entry.kind or DATASET_KINDS.get(name, loss.kinds[0])
        path = ("datasets", name)
        yield from step_faults(kind, loss.name, entry.hard_negatives, entry.teacher, path)


def _router(preset: SparseFile) -> Faults:
    for pattern in preset.router.learning_rate_patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            place = ("router", "learning_rate_patterns", pattern)
            yield place, f"{pattern!r} is no regular expression: {error}"


def _optimizer(preset: SparseFile) -> Faults:
    name, section = preset.training.scheduler_type, section_of(preset)
    unknown = [*name_fault(schedules, name, ("training", "scheduler_type")), *section.faults()]
    yield from unknown
    if not unknown and preset.training.optimizer is not None:
        yield from own_schedule_faults(name, section)
        yield from build_faults(section, None, updates=max(1, preset.training.max_steps))


def _training(preset: SparseFile) -> Faults:
    training = preset.training
    if training.hub_strategy in ("checkpoint", "all_checkpoints"):
        yield (
            ("training", "hub_strategy"),
            "models are pushed, and no state of the training, from which a run resumes on this machine; use "
            "every_save or end",
        )
    if training.batch_sampler == "group_by_label":
        yield (
            ("training", "batch_sampler"),
            "group_by_label needs rows with a class each, which none of these data sets has; use "
            "no_duplicates or batch_sampler",
        )
    if preset.evaluation.evaluator not in EVALUATORS:
        given = preset.evaluation.evaluator
        yield (
            ("evaluation", "evaluator"),
            f"there is no evaluator {given!r}.{did_you_mean(given, EVALUATORS)} "
            f"There are: {listed(EVALUATORS)}",
        )
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
