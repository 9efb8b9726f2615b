"""What the constructors of an encoder's parts refuse, found by building each once on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, get_args

import attrs
import torch
from torch.overrides import TorchFunctionMode

from ultra_blocks.config import ModelConfigError, Path, UltraConfig, split_spec
from ultra_blocks.encoder import Encoder
from ultra_blocks.norms.base import Place
from ultra_blocks.parts import build_ffn, build_mixer, build_norm, embedded_positions, model_fields
from ultra_core import blocks
from ultra_core.errors import PluginError
from ultra_core.plugins.signatures import read_options

Found = Iterator[tuple[Path, str]]

FFN_FIELDS = frozenset({"ffn", "use_moe", "ffn_activation", "num_experts", "top_k_experts"})


MOST = 150
"""Different blocks that are built, as hundreds take seconds; what is wrong with others shows in the run."""

DRAWS = {
    *("uniform_", "normal_", "trunc_normal_", "exponential_", "log_normal_", "bernoulli_", "random_"),
    *("xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "orthogonal_", "sparse_"),
}
"""Functions that fill a tensor with random numbers."""


class _Undrawn(TorchFunctionMode):
    """Leaves out filling meta tensors with random numbers: torch would import its compiler for nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in DRAWS:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **(kwargs or {}))


@contextmanager
def on_meta() -> Iterator[None]:
    """Build on the meta device: nothing is allocated, and no random number is drawn."""
    with torch.device("meta"), _Undrawn(), torch.random.fork_rng(devices=[]):
        yield


def sample(config: UltraConfig) -> Encoder:
    """Return an encoder on the meta device with the blocks of the pattern in it, but no more layers.

    Of a pattern of more than ``MOST`` blocks it has the first ``MOST`` that differ.
    """
    pattern = config.layer_pattern[: config.num_layers]
    if len(pattern) > MOST:
        pattern = tuple({repr(spec): spec for spec in pattern}.values())[:MOST]
    with on_meta():
        return Encoder(attrs.evolve(config, layer_pattern=pattern, num_layers=len(pattern)))


def refusals(config: UltraConfig, known: Collection[Path]) -> Found:
    """Yield (path, message) for every part of the encoder that its constructor refuses.

    Nothing is allocated and no random number is drawn: the parts are built on the meta device, as
    ``from_pretrained`` builds them. A constructor that fails there with anything but a ValueError is a broken
    plugin, and is told so.

    Args:
        config: names and options that exist, types and ranges that are right, but where ``known`` says not.
        known: paths of the faults that have been found; what they explain is not built.
    """
    fields = {str(path[0]) for path in known}
    seen = set()
    with on_meta():
        for path, build in _parts(config, known, fields):
            for fault in _refused(path, build):
                if fault not in seen:
                    seen.add(fault)
                    yield fault


def _parts(config: UltraConfig, known: Collection[Path], fields: set[str]) -> Iterator[Any]:
    """Yield the place in the config and the builder of every part that no known fault is about."""
    if "norm_type" not in fields:
        for place in get_args(Place):
            yield ("norm_type",), partial(build_norm, config, place)
    if not FFN_FIELDS.intersection(fields):
        yield ("ffn",), partial(build_ffn, config, model_fields(config))
    if "positions" not in fields:
        yield ("positions",), partial(embedded_positions, config, model_fields(config))
    # every block accepts "nope": what else is wrong with it is said beside a position code that is wrong
    usable = attrs.evolve(config, positions="nope") if "positions" in fields else config
    faulty = {path[1] for path in known if path[0] == "layer_pattern" and len(path) > 1}
    built: set[str] = set()
    for i, spec in enumerate(config.layer_pattern):
        name, options = split_spec(spec)
        if i in faulty or fields.intersection(_read(name, options)):
            continue
        if len(built) >= MOST:
            return
        if (said := repr(spec)) in built and "layer_depth" not in _read(name, options):
            continue  # nothing tells it from the one that was built
        built.add(said)
        path = ("layer_pattern", i) if isinstance(spec, str) else ("layer_pattern", i, name)
        # a block may look at its depth; one that no layer has stands where the first one does
        layers = range(i, config.num_layers, len(config.layer_pattern)) or [0]
        for layer in layers if "layer_depth" in _read(name, options) else layers[:1]:
            depth = model_fields(usable, layer / config.num_layers)
            yield path, partial(build_mixer, usable, name, options, depth)


def _read(name: str, options: Collection[str]) -> set[str]:
    """Return the fields of the model, but for positions, that a block takes and no option replaces."""
    signature = read_options(blocks.get(name))
    found = {o.from_model for key, o in signature.items() if o.from_model and key not in options}
    return found - {"positions"}


def _refused(path: Path, build: Callable[[], Any]) -> Found:
    try:
        build()
    except ModelConfigError as error:
        for where, message in error.faults:
            yield _place(path, where), message
    except PluginError as error:
        yield path, str(error)


def _place(path: Path, where: Path) -> Path:
    """Return where a fault stands in the config, given the part's place and what its builder said."""
    if where[0] != path[0] or path[0] != "layer_pattern":
        return where
    return (*path[:2], *where[1:]) if len(path) > 2 else path
