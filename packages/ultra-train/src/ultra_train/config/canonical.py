"""The one canonical form of a preset: shorthands worked in, defaults that depend on other keys filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ultra_blocks.config import UltraConfig
from ultra_core import models
from ultra_core.config import dump, unstructure
from ultra_train.config.data import EMBEDDED, DatasetSource, as_sources
from ultra_train.config.integrations import reporters
from ultra_train.config.optimizer import GALORE_KEYS, RATE_KEYS
from ultra_train.config.optimizer_rules import chosen, own_words
from ultra_train.config.preset import Preset, PresetFile, SparseFile, SparsePreset
from ultra_train.config.rules import layer_names
from ultra_train.config.sections import TokenizerConfig, TokenizerTraining
from ultra_train.config.sparse import keys_of
from ultra_train.config.training import TrainingConfig

Path = tuple[str | int, ...]

FLAT = (*RATE_KEYS, "use_galore", *GALORE_KEYS)
FOLDED = ("use_moe", "ffn_activation")
"""Shorthands of the model that its canonical form writes out in ``ffn``."""


def with_model(preset: PresetFile, given: frozenset[Path]) -> PresetFile:
    """Return the preset with its model complete: defaults of the model class, rows for the tokenizer."""
    if preset.model_class is None or preset.model_class not in models or preset.base_model is not None:
        return preset
    values: dict[str, Any] = dict(models.get(preset.model_class).defaults)
    train = preset.tokenizer.train if preset.tokenizer is not None else None
    if train is not None:
        values["vocab_size"] = train.vocab_size
    missing = {name: value for name, value in values.items() if ("model", name) not in given}
    return attrs.evolve(preset, model=attrs.evolve(preset.model or UltraConfig(), **missing))


def finish(preset: PresetFile, name: str, notices: tuple[str, ...]) -> Preset:
    """Return the loaded form of a preset that has no fault."""
    model = preset.model.canonical() if preset.model is not None else None
    tokenizer = preset.tokenizer
    if model is not None and (
        tokenizer is None or (tokenizer.train is None and tokenizer.name_or_path is None)
    ):
        train = TokenizerTraining(vocab_size=model.vocab_size)
        tokenizer = attrs.evolve(tokenizer or TokenizerConfig(), train=train)
    fields = {field.name: getattr(preset, field.name) for field in attrs.fields(PresetFile)}
    training = _training(preset.training, layer_names(preset))
    fields |= {"model": model, "tokenizer": tokenizer, "training": training}
    return Preset(**fields, name=name, notices=notices)


def _training(training: TrainingConfig, pattern: tuple[str, ...]) -> TrainingConfig:
    unset: dict[str, Any] = dict.fromkeys(FLAT)
    sbert = training.sbert
    if sbert is not None and sbert.optimizer is not None:
        sbert = attrs.evolve(sbert, optimizer=own_words(sbert.optimizer, (), bare=True))
    return attrs.evolve(
        training,
        **unset,
        sbert=sbert,
        report_to=reporters(training.report_to),
        optimizer=chosen(training, pattern),
        dataset=as_sources(training.dataset) or (DatasetSource(source=EMBEDDED),),
        max_steps=training.max_steps or training.scheduler_total_steps,
        eval_every_n_steps=training.eval_every_n_steps or training.checkpoint_every_n_steps,
    )


def finish_sparse(preset: SparseFile, name: str, notices: tuple[str, ...]) -> SparsePreset:
    """Return the loaded form of a sparse preset that has no fault."""
    fields = {field.name: getattr(preset, field.name) for field in attrs.fields(SparseFile)}
    router = preset.model.architecture == "inference-free-splade"
    report = reporters(preset.training.report_to)
    fields["model"] = attrs.evolve(preset.model, use_router=router)
    fields["training"] = attrs.evolve(preset.training, report_to=report)
    return SparsePreset(**fields, name=name, notices=notices)


def to_tree(preset: Preset | SparsePreset) -> dict[str, Any]:
    """Return the canonical form as plain data; keys that are only another spelling are left out."""
    tree: dict[str, Any] = unstructure(preset)
    for internal in ("name", "notices"):
        del tree[internal]
    if isinstance(preset, Preset):
        _drop(tree["training"], FLAT)
        if tree["model"] is not None:
            _drop(tree["model"], FOLDED)
    else:
        for name, section in tree["datasets"].items():
            if isinstance(section, dict):
                tree["datasets"][name] = {key: section[key] for key in section if key in keys_of(name)}
    return {key: value for key, value in tree.items() if value is not None}


def _drop(section: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        assert section.pop(key) is None


def to_yaml(preset: Preset | SparsePreset) -> str:
    """Return the canonical form as YAML, which loads to an equal preset."""
    tree: Mapping[str, Any] = to_tree(preset)
    return dump(tree)
