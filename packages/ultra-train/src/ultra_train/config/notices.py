"""What a preset sets without effect in its run, or by another name: said once, never passed over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

from ultra_blocks.config import UltraConfig, split_spec
from ultra_core import blocks, ffns, optimizers, positions
from ultra_core.errors import listed, shortened
from ultra_core.options import read_options
from ultra_optim.preset import Parsed
from ultra_train.config.dialect import name_of_the_optimizer, names_of_the_model
from ultra_train.config.integrations import idle_integrations
from ultra_train.config.optimizer import GALORE_KEYS, OptimizerConfig
from ultra_train.config.optimizer_flat import beside
from ultra_train.config.optimizer_rules import own_words, read, roles, traits
from ultra_train.config.rules import layer_names
from ultra_train.config.training import TrainingConfig

if TYPE_CHECKING:
    from ultra_train.config.preset import PresetFile

Path = tuple[str | int, ...]

PLUGIN_FIELDS = (
    "num_heads",
    "num_kv_heads",
    "retention_heads",
    "num_experts",
    "top_k_experts",
    "ode_solver",
    "ode_steps",
    "hope_base",
    "hope_damping",
    "rope_base",
    "rope_factor",
)
"""Fields of the model that act only through a plugin that reads them."""


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
    idle += [f"model.{name}" for name in _idle_model(preset, given)]
    idle += idle_integrations(preset)
    spoken = list(_sections(preset))
    for path, _, parsed in spoken:
        idle += [f"{path}.parameters.{name}" for name in parsed.idle]
    lines = []
    if later:
        lines.append(f"accepted, but nothing acts on them yet: {listed([f'training.{n}' for n in later])}")
    if idle:
        lines.append(f"no effect in this run: {listed(idle)}")
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
    present = roles(layer_names(preset)) if preset.base_model is None else None
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


def _idle_model(preset: PresetFile, given: frozenset[Path]) -> Iterator[str]:
    model = preset.model
    if model is None:
        return
    read = {option.from_model for plugin in _plugins(model) for option in read_options(plugin).values()}
    idle = [field for field in PLUGIN_FIELDS if field not in read]
    if not model.use_factorized_embedding:
        idle.append("factorized_embedding_dim")
    if not model.use_embedding_conv:
        idle.append("embedding_conv_kernel")
    yield from (name for name in idle if ("model", name) in given)


def _plugins(model: UltraConfig) -> Iterator[Any]:
    """Yield the block, FFN and position classes that a model is built from."""
    for name in dict.fromkeys(name for name, _ in model.layers()):
        block = blocks.get(name)
        yield block
        own = read_options(block).get("positions")
        if own is not None:
            yield positions.get(split_spec(model.positions_for(own.default))[0])
    name, options = model.resolved_ffn()
    yield ffns.get(name)
    if "expert" in options:
        yield ffns.get(split_spec(options["expert"])[0])


def _warnings(preset: PresetFile) -> Iterator[str]:
    chosen: OptimizerConfig | None = preset.training.optimizer
    if chosen is not None and traits(chosen).one_lr:
        own = optimizers.canonical(chosen.optimizer_class)[0].rpartition(":")[2]
        prefix = f"{own}-lr_"
        if any(name.startswith(prefix) for name in read(chosen, layer_names(preset)).canonical):
            yield f"{own} has one learning rate: {prefix}* are read as multipliers of it"
