"""What keys of a preset demand of each other, beyond their types; checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ultra_blocks.config import split_spec
from ultra_core import models, optimizers, positions, schedules, tasks
from ultra_core.errors import UltraError
from ultra_core.plugins.registry import Registry
from ultra_core.plugins.signatures import read_options
from ultra_train.config.data import MOST_SOURCES
from ultra_train.config.optimizer import RATE_KEYS, OptimizerConfig, from_flat
from ultra_train.config.optimizer_flat import beside
from ultra_train.config.optimizer_rules import optimizer_faults, read, traits
from ultra_train.config.training import TrainingConfig
from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.texts import check_exists

if TYPE_CHECKING:
    from ultra_train.config.preset import PresetFile

Path = tuple[str | int, ...]
Found = Iterator[tuple[Path, str]]

ROUNDING = 256
"""A model may have up to this many more embedding rows than its tokenizer has pieces."""


DECODER = "Ultra trains encoders; model.causal: true builds causal blocks"
"""What is said of decoders."""

FEWEST = 262
"""Pieces of a tokenizer of ours that spells nothing but bytes and one character."""


def faults(preset: PresetFile, given: frozenset[Path]) -> Found:
    """Yield every (key path, message) at which a preset contradicts itself or the installed plugins.

    Args:
        preset: the preset as written, its types already checked.
        given: the paths of all keys that the file sets.
    """
    yield from _source_of_the_model(preset, given)
    yield from _vocabulary(preset, given)
    yield from _longest_text(preset)
    training = preset.training
    yield from name_fault(tasks, training.task, ("training", "task"))
    yield from name_fault(schedules, training.scheduler_type, ("training", "scheduler_type"))
    yield from _optimizer(preset, given)
    yield from _sbert(preset)
    yield from _thresholds(training)
    yield from _data(training)
    if training.use_amp and training.precision == "fp32":
        yield (
            ("training", "precision"),
            "use_amp: true asks for mixed precision and precision for fp32; remove one of the two",
        )


def too_many_sources(training: TrainingConfig) -> Found:
    """Yield a fault when a list of sources is so long that nobody can mean it."""
    if isinstance(training.dataset, tuple) and len(training.dataset) > MOST_SOURCES:
        count = len(training.dataset)
        message = f"a list of {count:,} sources; name at most {MOST_SOURCES:,}, or a folder or a glob"
        yield ("training", "dataset"), message


def name_fault(registry: Registry, name: str, path: Path) -> Found:
    """Yield a fault when a registry does not know a name, or knows two of it."""
    try:
        registry.entry(name)
    except UltraError as error:
        yield path, str(error)


def _source_of_the_model(preset: PresetFile, given: frozenset[Path]) -> Found:
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


def _vocabulary(preset: PresetFile, given: frozenset[Path]) -> Found:
    tokenizer = preset.tokenizer
    train = tokenizer.train if tokenizer is not None else None
    if preset.base_model is not None and preset.training.task == "mlm":
        if train is not None:
            yield (
                ("tokenizer", "train"),
                "a base model keeps the tokenizer that it was trained with; "
                "set tokenizer.name_or_path instead of tokenizer.train",
            )
        elif tokenizer is None or tokenizer.name_or_path is None:
            yield (
                ("tokenizer", "name_or_path"),
                f"mlm with base_model needs tokenizer.name_or_path, for example {preset.base_model!r}",
            )
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


def _longest_text(preset: PresetFile) -> Found:
    """Yield a fault when texts may be longer than the positions that the model learns."""
    model, length = preset.model, preset.training.max_length
    if model is None or model.positions is None:
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


def _optimizer(preset: PresetFile, given: frozenset[Path]) -> Found:
    training = preset.training
    flat = training.optimizer is None
    if training.optimizer is not None:
        yield from _both_spellings(training, layer_names(preset))
    chosen = training.optimizer or from_flat(training)
    if chosen is None:
        if training.task == "mlm" and not any(("training", key) in given for key in RATE_KEYS):
            yield (
                ("training", "optimizer"),
                "mlm needs training.optimizer: {optimizer_class, parameters}, or a flat key such as lr_other",
            )
        return
    path: Path = ("training",) if flat else ("training", "optimizer")
    yield from optimizer_faults(chosen, path, flat=flat, pattern=layer_names(preset))
    if training.task != "sbert" or training.sbert is None or training.sbert.optimizer is None:
        yield from _own_schedule(training, chosen)


def _own_schedule(training: TrainingConfig, optimizer: OptimizerConfig) -> Found:
    """Yield a fault where an optimizer that replaces a schedule has one."""
    if training.scheduler_type != "constant" and traits(optimizer).own_schedule:
        yield (
            ("training", "scheduler_type"),
            f"{optimizer.optimizer_class} replaces a schedule and warms up inside; "
            "set scheduler_type: constant",
        )


def _both_spellings(training: TrainingConfig, pattern: tuple[str, ...]) -> Found:
    assert training.optimizer is not None
    try:
        parsed = read(training.optimizer, pattern)
    except UltraError:
        return  # there is no such optimizer, which is said elsewhere
    name = optimizers.canonical(training.optimizer.optimizer_class)[0]
    section = OptimizerConfig(optimizer_class=name, parameters=parsed.canonical)
    made = beside(training, section, parsed)
    for key, message in made.faults:
        yield ("training", key), message
    for key, parameter in made.added.items():
        added = OptimizerConfig(optimizer_class=name, parameters={parameter: getattr(training, key)})
        for _, message in read(added, pattern).faults:
            yield ("training", key), message


def layer_names(preset: PresetFile) -> tuple[str, ...]:
    """Return the names of the blocks in the pattern of a preset; empty for a base model."""
    pattern = preset.model.layer_pattern if preset.model is not None else ()
    return tuple(name for item in pattern for name in ([item] if isinstance(item, str) else item))


def _sbert(preset: PresetFile) -> Found:
    training = preset.training
    if training.task == "sbert":
        if training.sbert is None:
            yield ("training", "sbert"), "the task sbert needs the section training.sbert"
        if preset.base_model is None:
            yield ("base_model",), "the task sbert needs base_model, a hub id or path"
    optimizer: OptimizerConfig | None = training.sbert.optimizer if training.sbert else None
    if optimizer is not None:
        path: Path = ("training", "sbert", "optimizer")
        yield from optimizer_faults(optimizer, path, flat=False, pattern=(), bare=True)
        if training.task == "sbert":
            yield from _own_schedule(training, optimizer)


def _thresholds(training: TrainingConfig) -> Found:
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


def _data(training: TrainingConfig) -> Found:
    if training.eval_fraction >= 1:
        yield (
            ("training", "eval_fraction"),
            "eval_fraction must be below 1; the rest of the data is trained on",
        )
    policy = training.mask_policy
    if policy.mask_rate + policy.random_rate > 1 + 1e-9:
        yield (
            ("training", "mask_policy"),
            f"mask_rate ({policy.mask_rate:g}) and random_rate ({policy.random_rate:g}) exceed 1 together",
        )
    if isinstance(training.dataset, tuple) and not training.dataset:
        yield ("training", "dataset"), "the list of sources is empty; name a file, a folder or a data set"
    specs = training.dataset if isinstance(training.dataset, tuple) else (training.dataset,)
    for index, spec in enumerate(specs):
        source = spec if isinstance(spec, str) or spec is None else spec.source
        if source is None:
            continue
        path: Path = ("training", "dataset", index) if len(specs) > 1 else ("training", "dataset")
        if not source.strip():
            yield path, "the source is empty; name a file, a folder or a data set"
        elif source.startswith("ultra:"):
            try:
                check_exists(DataSource(source))
            except UltraError as error:
                yield path, str(error)
