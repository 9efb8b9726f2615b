"""Specs, ``NAME`` or ``{NAME: {options}}``, and the canonical names of what they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ultra_blocks.activations import canonical_activation
from ultra_core import blocks, ffns, positions
from ultra_core.plugins.registry import Registry

Spec = str | dict[str, dict[str, Any] | None]
"""The name of a plugin, or ``{NAME: {options}}``."""


def split_spec(spec: Spec) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of a spec.

    Raises:
        ValueError: the spec is a mapping that does not hold exactly one name.
    """
    if isinstance(spec, str):
        return spec, {}
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise ValueError(f"expected NAME or {{NAME: {{options}}}}, given {spec!r}")
    ((name, options),) = spec.items()
    return name, dict(options or {})


def bare_name(name: str) -> str:
    """Return a name without the distribution of ``distribution:name``."""
    return name.rpartition(":")[2]


def canonical_spec(registry: Registry, spec: Spec) -> Spec:
    """Return a spec under the plugin's canonical name, with the options that an alias implies."""
    name, options = split_spec(spec)
    canonical, alias = registry.canonical(name)
    if alias is None:
        return spec
    return {canonical: {**alias.options, **options}} if alias.options or options else canonical


def canonical_block(spec: Spec) -> Spec:
    """Return a block of a pattern, and the position code among its options, under canonical names."""
    name, options = split_spec(canonical_spec(blocks, spec))
    code = options.get("positions")
    if isinstance(code, str) or (isinstance(code, dict) and len(code) == 1):
        options["positions"] = canonical_spec(positions, code)
    return {name: options} if options else canonical_spec(blocks, spec)


def canonical_ffn_activations(spec: Spec) -> Spec:
    """Return an FFN whose activation, and that of its expert, has its canonical name."""
    if isinstance(spec, str):
        return spec
    name, options = split_spec(spec)
    if isinstance(options.get("activation"), str) and _is_built_in(ffns.canonical(name)[0]):
        options["activation"] = canonical_activation(options["activation"])
    expert = options.get("expert")
    if isinstance(expert, dict) and len(expert) == 1 and isinstance(next(iter(expert.values())), dict):
        options["expert"] = canonical_ffn_activations(expert)
    return {name: options}


def _is_built_in(ffn: str) -> bool:
    """Whether an FFN belongs to this package; others may give activations names of their own."""
    distribution, _, name = ffn.rpartition(":")
    owners = {entry.distribution for entry in ffns.entries() if entry.name == name}
    return "ultra-blocks" in ({distribution} if distribution else owners)


def with_rope_options(spec: Spec, rope: Mapping[str, Any]) -> Spec:
    """Return a block of a pattern; if its own position code is rope, it gains the options ``rope``."""
    name, options = split_spec(spec)
    if "positions" not in options:
        return spec
    return {name: {**options, "positions": with_defaults_if_rope(options["positions"], rope)}}


def with_defaults_if_rope(code: Spec, rope: Mapping[str, Any]) -> Spec:
    """Return a position code; if it is rope, ``rope`` supplies the options that it does not set."""
    name, options = split_spec(code)
    return {name: {**rope, **options}} if bare_name(name) == "rope" and rope else code
