"""Every fault of a config, including what constructors refuse, found by building parts on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, get_args

import attrs
import torch
from torch.overrides import TorchFunctionMode

from ultra_blocks.config import ModelConfigError, UltraConfig, split_spec
from ultra_blocks.config.validation import Faults, contradictions, type_faults
from ultra_blocks.encoder.build import build_ffn, build_mixer, build_norm, embedded_positions, model_fields
from ultra_blocks.norms.base import Place
from ultra_core import blocks
from ultra_core.errors import KeyPath, PluginError
from ultra_core.plugins.signatures import read_options

FFN_FIELDS = frozenset({"ffn", "use_moe", "ffn_activation", "num_experts", "top_k_experts"})

MAX_BUILDS = 150
"""Different blocks that are built, as hundreds would take seconds; faults of the others show in the run."""

RANDOM_FILLS = {
    *("uniform_", "normal_", "trunc_normal_", "exponential_", "log_normal_", "bernoulli_", "random_"),
    *("xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "orthogonal_", "sparse_"),
}
"""Functions that fill a tensor with random numbers."""


def config_faults(config: UltraConfig) -> list[tuple[KeyPath, str]]:
    """Return every (path, message) at which a config contradicts itself or the installed plugins.

    Among them is whatever the constructor of a block, norm, FFN or position code refuses: each is built once
    on the meta device. Wrong types and ranges are returned alone, because the other checks rely on them.
    """
    if found := list(type_faults(config)):
        return found
    found = list(contradictions(config))
    return found + list(refusals(config, [path for path, _ in found]))


def check_config(config: UltraConfig) -> UltraConfig:
    """Return the config if it has no fault.

    Raises:
        ModelConfigError: the config has faults; the error lists all of them.
    """
    if found := config_faults(config):
        raise ModelConfigError(found)
    return config


class _SkipRandomFills(TorchFunctionMode):
    """Skips random fills of meta tensors, for which torch would import its compiler to no effect."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in RANDOM_FILLS:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **(kwargs or {}))


@contextmanager
def on_meta() -> Iterator[None]:
    """Build modules on the meta device, without allocating memory or consuming random numbers."""
    with torch.device("meta"), _SkipRandomFills(), torch.random.fork_rng(devices=[]):
        yield


def refusals(config: UltraConfig, known: Collection[KeyPath]) -> Faults:
    """Yield (path, message) for every part of the encoder that its constructor refuses.

    The parts are built on the meta device, as ``from_pretrained`` builds them. A constructor that raises
    anything but a ValueError there is reported as a broken plugin.

    Args:
        config: a config whose only wrong types, ranges, names and options are at ``known``.
        known: paths of the faults found so far; parts that these concern are not built.
    """
    fields = {str(path[0]) for path in known}
    seen = set()
    with on_meta():
        for path, build in _parts(config, known, fields):
            for fault in _refusals_of(path, build):
                if fault not in seen:
                    seen.add(fault)
                    yield fault


def _parts(config: UltraConfig, known: Collection[KeyPath], fields: set[str]) -> Iterator[Any]:
    """Yield the path in the config and the builder of every part that no known fault concerns."""
    if "norm_type" not in fields:
        for place in get_args(Place):
            yield ("norm_type",), partial(build_norm, config, place)
    if not FFN_FIELDS.intersection(fields):
        yield ("ffn",), partial(build_ffn, config, model_fields(config))
    if "positions" not in fields:
        yield ("positions",), partial(embedded_positions, config, model_fields(config))
    # every block accepts "nope", so its other faults are found even if the position code is wrong
    usable = attrs.evolve(config, positions="nope") if "positions" in fields else config
    faulty = {path[1] for path in known if path[0] == "layer_pattern" and len(path) > 1}
    built: set[str] = set()
    for i, spec in enumerate(config.layer_pattern):
        name, options = split_spec(spec)
        reads = _fields_read(name, options) if i not in faulty else set()
        if i in faulty or fields.intersection(reads):
            continue
        if len(built) >= MAX_BUILDS:
            return
        if (text := repr(spec)) in built and "layer_depth" not in reads:
            continue  # identical to one that was built
        built.add(text)
        path = ("layer_pattern", i) if isinstance(spec, str) else ("layer_pattern", i, name)
        # a block may depend on its depth; an entry beyond the last layer is built at depth 0
        layers = range(i, config.num_layers, len(config.layer_pattern)) or [0]
        for layer in layers if "layer_depth" in reads else layers[:1]:
            depth = model_fields(usable, layer / config.num_layers)
            yield path, partial(build_mixer, usable, name, options, depth)


def _fields_read(name: str, options: Collection[str]) -> set[str]:
    """Return the fields of the model, except positions, that a block takes and no option replaces."""
    signature = read_options(blocks.get(name))
    found = {o.from_model for key, o in signature.items() if o.from_model and key not in options}
    return found - {"positions"}


def _refusals_of(path: KeyPath, build: Callable[[], Any]) -> Faults:
    try:
        build()
    except ModelConfigError as error:
        for where, message in error.faults:
            yield _full_path(path, where), message
    except PluginError as error:
        yield path, str(error)


def _full_path(path: KeyPath, where: KeyPath) -> KeyPath:
    """Return the path of a fault, given the path of the part and the path that its builder reports."""
    if where[0] != path[0] or path[0] != "layer_pattern":
        return where
    return (*path[:2], *where[1:]) if len(path) > 2 else path
