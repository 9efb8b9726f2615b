"""Keys that a preset sets and that have no effect in its run: named once, never ignored in silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

from ultra_blocks.config import UltraConfig, split_spec
from ultra_core import blocks, ffns, positions
from ultra_core.errors import listed
from ultra_core.options import read_options
from ultra_train.config.optimizer import GALORE_KEYS, OptimizerConfig
from ultra_train.config.optimizer_rules import roles, traits
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
)
"""Fields of the model that act only through a plugin that reads them."""


def notices(preset: PresetFile, given: frozenset[Path]) -> tuple[str, ...]:
    """Return one line for keys that nothing acts on yet, one for keys idle in this run, and warnings."""
    later = [name for name in _set_keys(preset.training, given) if _field(name).metadata["later"]]
    idle = [f"training.{name}" for name in _set_keys(preset.training, given) if _foreign(name, preset)]
    idle += [f"training.{name}" for name in _idle_training(preset, given)]
    idle += [f"model.{name}" for name in _idle_model(preset, given)]
    lines = []
    if later:
        lines.append(f"accepted, but nothing acts on them yet: {listed([f'training.{n}' for n in later])}")
    if idle:
        lines.append(f"no effect in this run: {listed(idle)}")
    lines.extend(_warnings(preset))
    return tuple(lines)


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
        prefix = f"{chosen.optimizer_class}-lr_"
        if any(name.startswith(prefix) for name in chosen.parameters):
            yield f"{chosen.optimizer_class} has one learning rate: {prefix}* are read as multipliers of it"
