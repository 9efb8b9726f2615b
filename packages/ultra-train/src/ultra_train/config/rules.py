"""Rules between the keys of a preset, checked before anything is loaded."""

from __future__ import annotations

import re

from ultra_blocks.config import split_spec
from ultra_core import models, positions, schedules, tasks
from ultra_core.config import KeyPath
from ultra_core.errors import UltraError
from ultra_core.plugins.registry import Registry
from ultra_core.plugins.signatures import read_options
from ultra_train.config.data import MOST_SOURCES
from ultra_train.config.dialect import DECODER
from ultra_train.config.encoder_keys import EncoderKeys
from ultra_train.config.guards import GuardKeys
from ultra_train.config.optimizer import RATE_KEYS
from ultra_train.config.optimizer_section import OptimizerSection
from ultra_train.config.preset import PresetFile
from ultra_train.config.task_declaration import Faults, answers
from ultra_train.config.training import TrainingConfig
from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.texts import check_exists

ROUNDING = 256
"""A model may have up to this many more embedding rows than its tokenizer has pieces."""

REPOSITORY = r"(\w[\w.-]{0,94}\w/|\w/)?(\w[\w.-]{0,94}\w|\w)"
"""Names of repositories on the hub."""

FEWEST = 262
"""Pieces of the smallest tokenizer: special tokens, bytes and one character."""


def faults(keys: EncoderKeys) -> list[tuple[KeyPath, str]]:
    """Return every (key path, message) at which a preset contradicts itself or the installed plugins."""
    preset, given = keys.preset, keys.written.given
    training = preset.training
    found = [*_source_of_the_model(preset, given), *_task(keys), *_vocabulary(preset, given)]
    found += _longest_text(preset)
    found += name_fault(schedules, training.scheduler_type, ("training", "scheduler_type"))
    found += [*_optimizers(keys), *threshold_faults(training), *_data(training)]
    found += repository_faults(training.hub_model_id)
    if training.use_amp and training.precision == "fp32":
        message = "use_amp: true asks for mixed precision and precision for fp32; remove one of the two"
        found.append((("training", "precision"), message))
    return found


def too_many_sources(training: TrainingConfig) -> list[tuple[KeyPath, str]]:
    """Return a fault when the list of sources is too long to be meant."""
    count = len(training.dataset) if isinstance(training.dataset, tuple) else 1
    if count <= MOST_SOURCES:
        return []
    message = f"a list of {count:,} sources; name at most {MOST_SOURCES:,}, or a folder or a glob"
    return [(("training", "dataset"), message)]


def name_fault(registry: Registry, name: str, path: KeyPath) -> Faults:
    """Yield a fault when a registry does not know a name, or several distributions offer it."""
    try:
        registry.entry(name)
    except UltraError as error:
        yield path, str(error)


def _source_of_the_model(preset: PresetFile, given: frozenset[KeyPath]) -> Faults:
    own = [key for key in ("model_class", "model") if (key,) in given]
    if preset.base_model is not None and own:
        yield (
            ("base_model",),
            f"base_model continues a finished model and excludes {' and '.join(own)}; keep one of the two",
        )
    elif preset.base_model is None and not own:
        yield (
            (),
            "a preset needs model_class with model (a new encoder) or base_model (a hub id or path)",
        )
    elif preset.base_model is None and preset.model_class is None:
        yield ("model",), f"model needs a model_class beside it, one of {', '.join(models.names())}"
    if preset.model_class is not None:
        for path, message in name_fault(models, preset.model_class, ("model_class",)):
            yield path, f"{message} {DECODER}." if "decoder" in preset.model_class.lower() else message


def _vocabulary(preset: PresetFile, given: frozenset[KeyPath]) -> Faults:
    tokenizer = preset.tokenizer
    train = tokenizer.train if tokenizer is not None else None
    unnamed = tokenizer is None or tokenizer.name_or_path is None
    if train is not None and train.vocab_size < FEWEST:
        yield ("tokenizer", "train", "vocab_size"), _too_few(train.vocab_size)
    elif train is None and unnamed and preset.model is not None and preset.model.vocab_size < FEWEST:
        yield ("model", "vocab_size"), _too_few(preset.model.vocab_size)
    if train is None or preset.model is None or ("model", "vocab_size") not in given:
        return
    rows, pieces = preset.model.vocab_size, train.vocab_size
    if not pieces <= rows < pieces + ROUNDING:
        yield (
            ("model", "vocab_size"),
            f"model.vocab_size is {rows} but tokenizer.train.vocab_size is {pieces}; make them equal, "
            f"or leave model.vocab_size out (rounding it up by less than {ROUNDING} is fine)",
        )


def _too_few(pieces: int) -> str:
    return (
        f"a vocabulary of {pieces} pieces cannot be trained: it takes at least {FEWEST}, 5 special tokens, "
        "256 bytes and the characters of the texts"
    )


def _longest_text(preset: PresetFile) -> Faults:
    """Yield a fault when texts may be longer than the learned positions of the model."""
    model, length = preset.model, getattr(preset.training, "max_length", None)
    if model is None or model.positions is None or length is None:
        return
    try:
        code, options = split_spec(model.positions)
        limited = "max_positions" in read_options(positions.get(code))
    except (UltraError, ValueError):
        return  # the rules of the model say so
    most = options.get("max_positions", model.max_positions)
    if limited and isinstance(most, int) and length > most:
        yield (
            ("training", "max_length"),
            f"max_length is {length} but the model learns {most} positions; raise max_positions or choose a "
            "position code without a limit, such as rope",
        )


def _task(keys: EncoderKeys) -> Faults:
    """Yield why the task cannot be named, and what contradicts itself among its keys."""
    name, path = keys.preset.training.task, ("training", "task")
    yield from name_fault(tasks, name, path)
    if keys.task is None and (reason := keys.tasks.broken.get(name.rpartition(":")[2])):
        yield path, reason
    if keys.task is not None:
        yield from answers(keys.task, "rules", keys.options.get(keys.task.name), keys.preset)


def _optimizers(keys: EncoderKeys) -> Faults:
    """Yield the faults of every optimizer section, and of the schedule of the one in use."""
    for section in keys.optimizers.values():
        yield from section.faults()
    task, chosen = keys.task, keys.optimizers.get("")
    if chosen is None and task is not None and task.own_optimizer is None:
        if not any(("training", key) in keys.written.given for key in RATE_KEYS):
            yield (
                ("training", "optimizer"),
                f"{task.name} needs training.optimizer: {{optimizer_class, parameters}}, or a flat key such "
                "as lr_other",
            )
        return
    used = keys.optimizers.get(task.name, chosen) if task is not None else chosen
    if used is not None:
        yield from own_schedule_faults(keys.preset.training.scheduler_type, used)


def own_schedule_faults(schedule: str, optimizer: OptimizerSection) -> Faults:
    """Yield a fault when an optimizer that replaces a schedule has one."""
    if schedule != "constant" and optimizer.traits.own_schedule:
        yield (
            ("training", "scheduler_type"),
            f"{optimizer.config.optimizer_class} replaces a schedule and warms up inside; "
            "set scheduler_type: constant",
        )


def threshold_faults(training: GuardKeys) -> Faults:
    """Yield a fault for temperatures in the wrong order."""
    pause, resume = training.gpu_temp_pause_threshold_c, training.gpu_temp_resume_threshold_c
    critical = training.gpu_temp_critical_threshold_c
    if not resume < pause:
        yield (
            ("training", "gpu_temp_resume_threshold_c"),
            f"gpu_temp_resume_threshold_c ({resume:g}) must be below gpu_temp_pause_threshold_c ({pause:g})",
        )
    if critical is not None and not pause < critical:
        yield (
            ("training", "gpu_temp_critical_threshold_c"),
            f"gpu_temp_critical_threshold_c ({critical:g}) must be above the pause threshold ({pause:g})",
        )


def repository_faults(name: str | None) -> Faults:
    """Yield a fault when a name cannot be that of a repository on the hub."""
    if name is not None and (not re.fullmatch(REPOSITORY, name) or "--" in name or ".." in name):
        message = (
            f"{name!r} cannot name a repository; write owner/name or name, of letters, digits, '-', '_' and "
            "'.', which neither begin nor end with '-' or '.', without '--' and '..'"
        )
        yield ("training", "hub_model_id"), message


def _data(training: TrainingConfig) -> Faults:
    if training.eval_fraction >= 1:
        yield (
            ("training", "eval_fraction"),
            "eval_fraction must be below 1; the rest of the data is trained on",
        )
    if isinstance(training.dataset, tuple) and not training.dataset:
        yield ("training", "dataset"), "the list of sources is empty; name a file, a folder or a data set"
    specs = training.dataset if isinstance(training.dataset, tuple) else (training.dataset,)
    for index, spec in enumerate(specs):
        source = spec if isinstance(spec, str) or spec is None else spec.source
        if source is None:
            continue
        path: KeyPath = ("training", "dataset", index) if len(specs) > 1 else ("training", "dataset")
        if not source.strip():
            yield path, "the source is empty; name a file, a folder or a data set"
        elif source.startswith("ultra:"):
            try:
                check_exists(DataSource(source))
            except UltraError as error:
                yield path, str(error)
