"""The common form of a preset: it trains an encoder from scratch, or continues a base model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from ultra_blocks.config import UltraConfig
from ultra_blocks.config.validation import type_faults
from ultra_core import models
from ultra_core.config import KeyPath, Source
from ultra_train.config import local_files
from ultra_train.config.canonical import completed
from ultra_train.config.declared_tasks import DeclaredTasks
from ultra_train.config.dialect import drop_overridden, translate
from ultra_train.config.encoder_keys import EncoderKeys
from ultra_train.config.form import Draft, PresetForm, Written
from ultra_train.config.notices import notices
from ultra_train.config.optimizer_build import build_faults
from ultra_train.config.optimizer_section import sections_of
from ultra_train.config.preset import Preset, PresetFile
from ultra_train.config.roles import roles_of_model
from ultra_train.config.rules import faults, too_many_sources
from ultra_train.config.suggestions import suggestion


class EncoderForm(PresetForm[PresetFile]):
    """Presets with ``model_class`` and ``model``, or ``base_model``.

    Args:
        tasks: the installed tasks, whose keys are in ``training``.
    """

    def __init__(self, tasks: DeclaredTasks) -> None:
        self.tasks = tasks

    def accepts(self, source: Source) -> bool:
        """Every file that has no other form."""
        return True

    @property
    def file_class(self) -> type[PresetFile]:
        """``PresetFile`` with the keys of the tasks."""
        return self.tasks.preset_class

    def translate(self, source: Source) -> tuple[Source, list[str]]:
        """Return the file with canonical keys and names, and a line about each that was rewritten."""
        made, said = translate(source, self.file_class)
        drop_overridden(made, ("training", "optimizer"))
        for path in self.tasks.own_optimizer_paths:
            drop_overridden(made, path, bare=True)
        return made, said

    def suggest(self, source: Source, path: KeyPath) -> str:
        """Return the key that an unknown one probably means, and its place."""
        return suggestion(source, self.tasks, path)

    def base_keys(self, source: Source) -> tuple[KeyPath, ...]:
        """Return ``base_model``, and the tokenizer where the preset names one."""
        tokenizer = source.get(("tokenizer",)) is not None
        return (("base_model",), *([("tokenizer", "name_or_path")] if tokenizer else []))

    def draft(self, preset: PresetFile, written: Written) -> EncoderDraft:
        """Return the draft, whose model has the defaults of its class."""
        preset = _with_model(preset, written.given)
        options = {task.name: task.given_options(preset) for task in self.tasks.all}
        roles = roles_of_model(preset.model)
        return EncoderDraft(
            EncoderKeys(
                preset=preset,
                written=written,
                tasks=self.tasks,
                task=self.tasks.find(preset.training.task),
                options={name: given for name, given in options.items() if given is not None},
                roles=roles,
                optimizers=sections_of(preset.training, options, self.tasks.all, roles),
            )
        )


@attrs.frozen
class EncoderDraft(Draft):
    """The sections of an encoder preset while it is loaded."""

    keys: EncoderKeys

    def faults(self, *, check_files: bool) -> list[tuple[KeyPath, str]]:
        """Return the faults of rules, of the model, and, without others, of building the optimizers."""
        training, model = self.keys.preset.training, self.keys.preset.model
        if found := too_many_sources(training):
            return found  # looking at each, and at everything else, would take its time
        found = faults(self.keys)
        if check_files:
            found += self.missing()
        if model is not None:
            found += ((("model", *path), message) for path, message in _model_faults(model))
        if not found:
            updates = training.max_steps or training.scheduler_total_steps
            for section in self.keys.optimizers.values():
                found += build_faults(section, model, updates=updates)
        return found

    def missing(self) -> list[tuple[KeyPath, str]]:
        """Return the data, base model and tokenizer that are not on this machine."""
        return local_files.missing(self.keys)

    def complete(self, name: str, absent: Iterable[str]) -> Preset:
        """Return the preset in canonical form, with its notices."""
        said = (*notices(self.keys), *absent, *local_files.hub_notices(self.keys))
        return completed(self.keys, name, said)


def _model_faults(model: UltraConfig) -> list[tuple[KeyPath, str]]:
    """Return the faults of a model; torch is imported only if its types and ranges are right."""
    if found := list(type_faults(model)):
        return found
    from ultra_blocks.encoder import config_faults  # imports torch

    return config_faults(model)


def _with_model(preset: PresetFile, given: frozenset[KeyPath]) -> PresetFile:
    """Return the preset with its model complete: defaults of the model class, rows for the tokenizer."""
    if preset.model_class is None or preset.model_class not in models or preset.base_model is not None:
        return preset
    values: dict[str, Any] = dict(models.get(preset.model_class).defaults)
    train = preset.tokenizer.train if preset.tokenizer is not None else None
    if train is not None:
        values["vocab_size"] = train.vocab_size
    missing = {name: value for name, value in values.items() if ("model", name) not in given}
    return attrs.evolve(preset, model=attrs.evolve(preset.model or UltraConfig(), **missing))
