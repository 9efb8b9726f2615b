"""``build``: makes a block, norm, FFN or position code from its registered name."""

from __future__ import annotations

from typing import Any

from torch import nn

from ultra_blocks.mixers.heads import number_of_heads
from ultra_blocks.positions import build as build_position
from ultra_core import blocks, ffns, norms, positions
from ultra_core.errors import NameClashError, UnknownNameError, did_you_mean, listed
from ultra_core.plugins.registry import Registry
from ultra_core.plugins.signatures import bind

REGISTRIES = (blocks, norms, ffns, positions)


def build(name: str, hidden_size: int, /, **options: Any) -> nn.Module:
    """Build the block, norm, FFN or position code that is registered under a name.

    ::

        build("retnet", 256, num_heads=4)
        build("glu", 256, ffn_hidden_size=1024, activation="silu")
        build("rms_norm", 256, place="final")
        build("rope", 256, num_heads=4)  # for the heads of a block: head_dim 64

    Args:
        name: registered name or alias; ``distribution:name`` selects one of several packages that offer it.
        hidden_size: width D of the residual stream.
        options: arguments of the constructor. The default of ``ffn_hidden_size`` is 4 D; a position code is
            for ``num_heads`` heads of width ``head_dim``, each of which follows from the other.

    Raises:
        UnknownNameError: no installed package offers the name.
        NameClashError: several do, or it names plugins of different kinds.
        PluginError: the plugin has no option of this name, or cannot be imported.
        ValueError: the constructor refuses an option or the width.
        TypeError: a class is given instead of a name, or the width is no whole number.
    """
    if not isinstance(name, str):
        raise TypeError(f"build takes a registered name; call {name!r} itself, with hidden_size and options")
    if not isinstance(hidden_size, int) or hidden_size < 1:
        kind = ValueError if isinstance(hidden_size, int) else TypeError
        raise kind(f"{name}: hidden_size is {hidden_size!r}; expected a whole number >= 1")
    registry = _registry_of(name)
    canonical, alias = registry.canonical(name)
    options = {**(alias.options if alias else {}), **options}
    if registry is positions:
        return _position(canonical, hidden_size, **options)
    supplied: dict[str, Any] = {"hidden_size": hidden_size}
    if registry is ffns:
        supplied["ffn_hidden_size"] = 4 * hidden_size
    cls = registry.get(canonical)
    module: nn.Module = cls(**bind(cls, options, supplied=supplied, model={}))
    return module


def _position(
    name: str,
    hidden_size: int,
    *,
    num_heads: int | None = None,
    head_dim: int | None = None,
    causal: bool = False,
    **options: Any,
) -> nn.Module:
    if num_heads is None:
        num_heads = number_of_heads(None, hidden_size) if head_dim is None else hidden_size // head_dim
    return build_position(
        {name: options},
        head_dim=hidden_size // num_heads if head_dim is None else head_dim,
        num_heads=num_heads,
        hidden_size=hidden_size,
        causal=causal,
    )


def _registry_of(name: str) -> Registry:
    """Return the registry that holds a name or alias."""
    found = [registry for registry in REGISTRIES if name in registry]
    if not found:
        near = did_you_mean(name, [other for registry in REGISTRIES for other in registry.spellings()])
        known = "; ".join(f"{registry.noun}s: {listed(registry.names())}" for registry in REGISTRIES)
        raise UnknownNameError(f"unknown block, norm, ffn or position code {name!r}.{near} Installed {known}")
    if len(found) > 1:
        kinds = " and a ".join(registry.noun for registry in found)
        raise NameClashError(
            f"{name!r} is a {kinds}; write distribution:name, or take the class from its registry, such as "
            f"ultra_core.{found[0].group.removeprefix('ultra.')}.get({name!r})"
        )
    return found[0]
