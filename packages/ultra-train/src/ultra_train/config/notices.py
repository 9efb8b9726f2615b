"""What a preset sets without effect in its run, or by another name: said once, never passed over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

from ultra_core import optimizers
from ultra_core.errors import listed, shortened
from ultra_optim.roles.preset_keys import Parsed
from ultra_train.config.dialect import name_of_the_optimizer, names_of_the_model
from ultra_train.config.idle_model import idle_model
from ultra_train.config.integrations import idle_integrations
from ultra_train.config.optimizer import GALORE_KEYS, OptimizerConfig
from ultra_train.config.optimizer_flat import beside
from ultra_train.config.optimizer_rules import own_words, read, roles, traits
from ultra_train.config.places import roles_of_base
from ultra_train.config.rules import layer_names
from ultra_train.config.training import TrainingConfig

if TYPE_CHECKING:
    from ultra_train.config.preset import PresetFile

Path = tuple[str | int, ...]


def notices(preset: PresetFile, given: frozenset[Path], renamed: list[str]) -> tuple[str, ...]:
    """Return what is said before a run of a preset without faults.

    One line each for keys that nothing acts on yet, keys idle in this run, other names of keys and plugins,
    values that were completed; then warnings, the first ``LISTED`` of them.

    Args:
        preset: as written.
        given: the paths of all keys that the file sets.
        renamed: other names that were rewritten before the preset was read, in words.
    """
    later = [name for name in _set_keys(preset.training, given) if _field(name).metadata["later"]]
    idle = [f"training.{name}" for name in _set_keys(preset.training, given) if _foreign(name, preset)]
    idle += [f"training.{name}" for name in _idle_training(preset, given)]
    if preset.model is not None:
        idle += [f"model.{name}" for name in idle_model(preset.model, given)]
    idle += idle_integrations(preset)
    spoken = list(_sections(preset))
    for path, _, parsed in spoken:
        if path != "training.optimizer" and "lr" in parsed.options:
            rate = ("training", "sbert", "learning_rate")
            idle += [".".join(rate)] if rate in given else []
        idle += [f"{path}.parameters.{name}" for name in parsed.idle]
    lines = []
    if later:
        lines.append(f"accepted, but nothing acts on them yet: {listed([f'training.{n}' for n in later])}")
    if idle:
        lines.append(f"no effect in this run: {listed(list(dict.fromkeys(idle)))}")
    lines += _other_names(preset, renamed, spoken)
    return (*lines, *shortened(list(_warnings(preset))))


def _sections(preset: PresetFile) -> Iterator[tuple[str, OptimizerConfig, Parsed]]:
    """Yield the path of every optimizer section, the section, and what its parameters mean."""
    training = preset.training
    if training.optimizer is not None:
        yield "training.optimizer", training.optimizer, read(training.optimizer, layer_names(preset))
    if training.sbert is not None and training.sbert.optimizer is not None:
        section = training.sbert.optimizer
        yield "training.sbert.optimizer", section, read(section, (), bare=True)


def _other_names(
    preset: PresetFile, renamed: list[str], sections: list[tuple[str, OptimizerConfig, Parsed]]
) -> Iterator[str]:
    names, values = list(renamed), []
    if preset.model is not None:
        names += names_of_the_model(preset.model)
    if preset.training.optimizer is not None:
        pattern = layer_names(preset)
        section = own_words(preset.training.optimizer, pattern)
        flat = beside(preset.training, section, read(section, pattern)).added
        names += [f"training.{key} is {parameter}" for key, parameter in flat.items()]
    for path, section, parsed in sections:
        names += name_of_the_optimizer(section.optimizer_class, path)
        names += [f"{path}.parameters.{key} is {own}" for key, own in parsed.renamed.items()]
        values += [f"{path}.parameters.{key} is {value}" for key, value in parsed.completed.items()]
    if names:
        yield f"other names: {listed(names)}"
    if values:
        yield f"completed values: {listed(values)}"


def _field(name: str) -> attrs.Attribute[Any]:
    return getattr(attrs.fields(TrainingConfig), name)


def _set_keys(training: TrainingConfig, given: frozenset[Path]) -> list[str]:
    """Return the keys of ``training`` that the file sets to something; false and null switch things off."""
    names = [field.name for field in attrs.fields(TrainingConfig)]
    return [n for n in names if ("training", n) in given and getattr(training, n) not in (None, False)]


def _foreign(name: str, preset: PresetFile) -> bool:
    tasks = _field(name).metadata["tasks"]
    return bool(tasks) and preset.training.task not in tasks


def _idle_training(preset: PresetFile, given: frozenset[Path]) -> Iterator[str]:
    training = preset.training
    if not training.use_galore:
        yield from (name for name in GALORE_KEYS if ("training", name) in given)
    if not training.push_to_hub and ("training", "hub_model_id") in given:
        yield "hub_model_id"
    if not training.prefer_local_cache and training.local_parquet_dir is not None:
        yield "local_parquet_dir"
    if training.eval_fraction == 0:
        yield from (name for name in ("eval_every_n_steps", "best_metric") if ("training", name) in given)
    base = preset.base_model
    present = roles(layer_names(preset)) if base is None else roles_of_base(base)
    if present is None:
        return
    for hyperparameter in ("lr", "wd", "betas", "eps"):
        for role in ("ode", "retnet", "mamba", "attention"):
            if role not in present and ("training", f"{hyperparameter}_{role}") in given:
                yield f"{hyperparameter}_{role}"
    if training.optimizer is not None:
        absent = {"ode", "retnet", "mamba", "attention"} - present
        for name in training.optimizer.parameters:
            if name.rpartition("_")[2] in absent:
                yield f"optimizer.parameters.{name}"


def _warnings(preset: PresetFile) -> Iterator[str]:
    for _, chosen, parsed in _sections(preset):
        if traits(chosen).one_lr:
            own = optimizers.canonical(chosen.optimizer_class)[0].rpartition(":")[2]
            prefix = f"{own}-lr_"
            if any(name.startswith(prefix) for name in parsed.canonical):
                yield f"{own} has one learning rate: {prefix}* are read as multipliers of it"
