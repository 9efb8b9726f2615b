"""Fields of a model that no part of it reads."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from ultra_blocks.config import UltraConfig, bare_name, split_spec
from ultra_core import blocks, ffns, positions
from ultra_core.config import KeyPath
from ultra_core.plugins.signatures import read_options

Part = tuple[Any, Collection[str]]

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


def idle_model(model: UltraConfig, given: frozenset[KeyPath]) -> Iterator[str]:
    """Yield the fields that a file sets and no part of its model reads.

    ``max_positions`` is never among them: readers of a saved model use it, whatever the position code.

    Args:
        model: without faults.
        given: the paths of all keys that the file sets.
    """
    codes = [split_spec(code) for code in _codes(model)]
    parts: list[Part] = [(positions.get(name), options) for name, options in codes]
    parts += [(blocks.get(name), options) for name, options in _distinct(model)]
    parts += _ffn(model)
    read = {
        option.from_model
        for plugin, said in parts
        for name, option in read_options(plugin).items()
        if name not in said
    }
    idle = [field for field in PLUGIN_FIELDS if field not in read]
    if model.positions is not None and "positions" not in read and not _is_embedded(model):
        idle.append("positions")
    if model.use_hope and "hope" not in [bare_name(name) for name, _ in codes]:
        idle.append("use_hope")
    if not model.use_factorized_embedding:
        idle.append("factorized_embedding_dim")
    if not model.use_embedding_conv:
        idle.append("embedding_conv_kernel")
    yield from (name for name in idle if ("model", name) in given)


def _codes(model: UltraConfig) -> Iterator[Any]:
    """Yield the position codes that are built: those of blocks, and the one that is added to embeddings."""
    if _is_embedded(model):
        yield model.positions
    for name, options in _distinct(model):
        own = read_options(blocks.get(name)).get("positions")
        if "positions" in options:
            yield options["positions"]
        elif own is not None and not _is_embedded(model):
            yield model.positions_for(own.default)


def _distinct(model: UltraConfig) -> list[tuple[str, dict[str, Any]]]:
    """Return the layers of a model without repetitions."""
    return list({repr(layer): layer for layer in model.layers()}.values())


def _ffn(model: UltraConfig) -> Iterator[Part]:
    name, options = model.resolved_ffn()
    yield ffns.get(name), options
    if "expert" in options:
        expert, inner = split_spec(options["expert"])
        yield ffns.get(expert), inner


def _is_embedded(model: UltraConfig) -> bool:
    """Whether the position code of a model is added to its embeddings, not applied by blocks."""
    if model.positions is None:
        return False
    return getattr(positions.get(split_spec(model.positions)[0]), "kind", None) == "embed"
