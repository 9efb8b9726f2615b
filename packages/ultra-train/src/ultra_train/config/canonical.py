"""The canonical form of a preset: shorthands resolved, defaults that depend on other keys filled in."""

from __future__ import annotations

from typing import Any

import attrs

from ultra_core.config import dump
from ultra_train.config.data import EMBEDDED, DatasetSource, as_sources
from ultra_train.config.encoder_keys import EncoderKeys
from ultra_train.config.integrations import reporters
from ultra_train.config.optimizer import FLAT_KEYS
from ultra_train.config.preset import LoadedPreset, Preset, PresetFile
from ultra_train.config.sections import TokenizerConfig, TokenizerTraining
from ultra_train.config.training import TrainingConfig


def completed(keys: EncoderKeys, name: str, notices: tuple[str, ...]) -> Preset:
    """Return the loaded form of a preset that has no fault."""
    preset = keys.preset
    model = preset.model.canonical() if preset.model is not None else None
    tokenizer = preset.tokenizer
    if model is not None and (
        tokenizer is None or (tokenizer.train is None and tokenizer.name_or_path is None)
    ):
        train = TokenizerTraining(vocab_size=model.vocab_size)
        tokenizer = attrs.evolve(tokenizer or TokenizerConfig(), train=train)
    fields = {field.name: getattr(preset, field.name) for field in attrs.fields(PresetFile)}
    fields |= {"model": model, "tokenizer": tokenizer, "training": _training(keys)}
    return Preset(**fields, name=name, notices=notices)


def _training(keys: EncoderKeys) -> TrainingConfig:
    training = keys.preset.training
    chosen = keys.optimizers.get("")
    by_epochs = keys.task is not None and keys.task.counts_epochs
    filled: dict[str, Any] = dict.fromkeys(FLAT_KEYS)
    for task in keys.tasks.all:
        if task.own_optimizer is not None and task.section and task.name in keys.optimizers:
            own = {task.own_optimizer.key: keys.optimizers[task.name].canonical}
            filled[task.section] = attrs.evolve(getattr(training, task.section), **own)
    filled |= {
        "report_to": reporters(training.report_to),
        "optimizer": chosen.canonical if chosen is not None else None,
        "dataset": as_sources(training.dataset) or (DatasetSource(source=EMBEDDED),),
        "max_steps": training.max_steps or (None if by_epochs else training.scheduler_total_steps),
        "eval_every_n_steps": training.eval_every_n_steps or training.checkpoint_every_n_steps,
    }
    return attrs.evolve(training, **filled)


def to_tree(preset: LoadedPreset) -> dict[str, Any]:
    """Return the canonical form as plain data; keys that are only another spelling are left out."""
    return {key: value for key, value in preset.to_tree().items() if value is not None}


def to_yaml(preset: LoadedPreset) -> str:
    """Return the canonical form as YAML, which loads to an equal preset."""
    return dump(to_tree(preset))
