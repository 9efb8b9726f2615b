"""Notices before a run: keys without effect, other names, completed values; each listed once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from ultra_core.errors import listed, shortened
from ultra_train.config.encoder_keys import EncoderKeys
from ultra_train.config.idle_model import idle_model
from ultra_train.config.integrations import reports_to
from ultra_train.config.optimizer import GALORE_KEYS
from ultra_train.config.optimizer_section import OptimizerSection
from ultra_train.config.other_names import other_name_of_optimizer, other_names_in_model
from ultra_train.config.roles import roles_of_base
from ultra_train.config.task_declaration import answers
from ultra_train.system.processes import processes

OF_EVALUATIONS = (
    "eval_every_n_steps",
    "best_metric",
    "greater_is_better",
    "load_best_model_at_end",
    "early_stopping_patience",
)
"""Keys that do nothing in a run without evaluations."""


def notices(keys: EncoderKeys) -> tuple[str, ...]:
    """Return the notices before a run of a preset without faults.

    One line each for keys idle in this run, other names of keys and plugins, and values that were completed;
    then warnings, the first ``LISTED`` of them.
    """
    lines = []
    if idle := list(dict.fromkeys(_idle_keys(keys))):
        lines.append(f"no effect in this run: {listed(idle)}")
    if names := list(_other_names(keys)):
        lines.append(f"other names: {listed(names)}")
    if values := list(_completed_values(keys)):
        lines.append(f"completed values: {listed(values)}")
    return (*lines, *shortened(list(_warnings(keys))))


def _written_sections(keys: EncoderKeys) -> list[OptimizerSection]:
    """Return the optimizers with a section in the file; flat keys need no notice."""
    return [section for section in keys.optimizers.values() if not section.flat]


def _set_keys(keys: EncoderKeys) -> Iterator[attrs.Attribute[Any]]:
    """Yield the keys of ``training`` that the file sets to a value other than false and null."""
    training = keys.preset.training
    for field in attrs.fields(type(training)):
        given = ("training", field.name) in keys.written.given
        if given and getattr(training, field.name) not in (None, False):
            yield field


def _idle_keys(keys: EncoderKeys) -> Iterator[str]:
    preset, given = keys.preset, keys.written.given
    readers, task = keys.tasks.readers, preset.training.task.rpartition(":")[2]
    for field in _set_keys(keys):
        if task not in readers.get(field.name, (task,)):
            yield f"training.{field.name}"
    yield from (f"training.{name}" for name in _idle_in_training(keys))
    if preset.model is not None:
        yield from (f"model.{name}" for name in idle_model(preset.model, given))
    if preset.mlflow is not None and not reports_to("mlflow", preset.training.report_to):
        yield "mlflow"
    for declared in keys.tasks.all:
        if declared.name in keys.options:
            yield from answers(declared, "idle_keys", keys.options[declared.name], preset)
    for section in _written_sections(keys):
        displaced = section.displaces
        if displaced and "lr" in section.parsed.options and tuple(displaced.split(".")) in given:
            yield displaced
        yield from (f"{section.dotted}.parameters.{name}" for name in section.parsed.idle)


def _idle_in_training(keys: EncoderKeys) -> Iterator[str]:
    training, given = keys.preset.training, keys.written.given
    if not training.use_galore:
        yield from (name for name in GALORE_KEYS if ("training", name) in given)
    if training.distributed is not None and not processes().several:
        yield "distributed"
    if not training.push_to_hub:
        hub = ("hub_model_id", "hub_strategy", "hub_private_repo")
        yield from (name for name in hub if ("training", name) in given)
    if training.early_stopping_patience is None and ("training", "early_stopping_threshold") in given:
        yield "early_stopping_threshold"
    if not training.prefer_local_cache and training.local_parquet_dir is not None:
        yield "local_parquet_dir"
    if training.eval_fraction == 0:
        yield from (name for name in OF_EVALUATIONS if ("training", name) in given)
    yield from _rates_of_absent_roles(keys)


def _rates_of_absent_roles(keys: EncoderKeys) -> Iterator[str]:
    base, training = keys.preset.base_model, keys.preset.training
    present = keys.roles if base is None else roles_of_base(base)
    if present is None:
        return
    absent = [role for role in ("ode", "retnet", "mamba", "attention") if role not in present]
    for hyperparameter in ("lr", "wd", "betas", "eps"):
        for role in absent:
            if ("training", f"{hyperparameter}_{role}") in keys.written.given:
                yield f"{hyperparameter}_{role}"
    if training.optimizer is not None:
        for name in training.optimizer.parameters:
            if name.rpartition("_")[2] in absent:
                yield f"optimizer.parameters.{name}"


def _other_names(keys: EncoderKeys) -> Iterator[str]:
    yield from keys.written.renamed
    if keys.preset.model is not None:
        yield from other_names_in_model(keys.preset.model)
    if (chosen := keys.optimizers.get("")) is not None and (flat := chosen.with_flat_keys) is not None:
        yield from (f"training.{key} is {parameter}" for key, parameter in flat.added.items())
    for section in _written_sections(keys):
        yield from other_name_of_optimizer(section.config.optimizer_class, section.dotted)
        for key, own in section.parsed.renamed.items():
            yield f"{section.dotted}.parameters.{key} is {own}"


def _completed_values(keys: EncoderKeys) -> Iterator[str]:
    for section in _written_sections(keys):
        for key, value in section.parsed.completed.items():
            yield f"{section.dotted}.parameters.{key} is {value}"


def _warnings(keys: EncoderKeys) -> Iterator[str]:
    for section in _written_sections(keys):
        if section.traits.one_lr:
            own = section.name.rpartition(":")[2]
            prefix = f"{own}-lr_"
            if any(name.startswith(prefix) for name in section.parsed.canonical):
                yield f"{own} has one learning rate: {prefix}* are read as multipliers of it"
