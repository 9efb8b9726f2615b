"""Faults of an UltraConfig that names, types and traits reveal without building anything; needs no torch.

Checking the options of a plugin imports that plugin, and with it torch; checking types and ranges does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

import attrs

from ultra_blocks.config.fields import UltraConfig
from ultra_blocks.config.specs import (
    Spec,
    bare_name,
    canonical_ffn_activations,
    canonical_spec,
    split_spec,
)
from ultra_core import blocks, ffns, norms, positions
from ultra_core.errors import KeyPath, PluginError, UltraError, listed
from ultra_core.plugins.registry import Registry
from ultra_core.plugins.signatures import check_options, mismatch, read_options

Faults = Iterator[tuple[KeyPath, str]]
"""(path, message) of each fault."""

Layer = tuple[int, str, dict[str, Any]]
"""Index in the pattern, block name and options."""

MAX_SUGGESTIONS = 200
"""Unknown blocks for which similar names are suggested; suggestions for thousands would take minutes."""

MAX_PATTERN = 1_000
"""Longest ``layer_pattern``."""


def type_faults(config: UltraConfig) -> Faults:
    """Yield every value of a wrong type or outside its range; imports no plugin and no torch."""
    hints = get_type_hints(UltraConfig, include_extras=True)
    for field in attrs.fields(UltraConfig):
        value = getattr(config, field.name)
        if problem := mismatch(value, hints[field.name]):
            yield (field.name,), f"{field.name} is {value!r}; {problem}"
    if isinstance(config.layer_pattern, tuple) and not config.layer_pattern:
        yield ("layer_pattern",), "layer_pattern is empty; name at least one block"
    elif isinstance(config.layer_pattern, tuple) and len(config.layer_pattern) > MAX_PATTERN:
        count = len(config.layer_pattern)
        yield ("layer_pattern",), f"layer_pattern has {count:,} blocks; name at most {MAX_PATTERN:,}"
        return
    for path, spec in _specs(config):
        if isinstance(spec, Mapping) and len(spec) != 1:
            yield path, f"expected NAME or {{NAME: {{options}}}}, found {len(spec)} names: {', '.join(spec)}"
        elif path[0] == "ffn" and isinstance(spec, Mapping):
            yield from _expert(*spec.items())


def _expert(ffn: tuple[str, Any]) -> Faults:
    """Yield a fault unless the expert of a mixture of experts is itself a spec."""
    name, options = ffn
    if bare_name(name) != "moe" or not isinstance(options, Mapping) or "expert" not in options:
        return
    path, expert = ("ffn", name, "expert"), options["expert"]
    if problem := mismatch(expert, Spec):
        yield path, f"expert is {expert!r}; {problem}"
    elif isinstance(expert, Mapping) and len(expert) != 1:
        yield path, f"expected NAME or {{NAME: {{options}}}}, found {len(expert)} names: {', '.join(expert)}"


def _specs(config: UltraConfig) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(config.layer_pattern, tuple):
        yield from ((("layer_pattern", i), spec) for i, spec in enumerate(config.layer_pattern))
    yield from (((name,), getattr(config, name)) for name in ("norm_type", "ffn", "positions"))


def contradictions(config: UltraConfig) -> Faults:
    """Yield every unknown name or option, and all fields that contradict each other.

    Args:
        config: without :func:`type_faults`.
    """
    yield from _plugin(norms, config.norm_type, ("norm_type",))
    yield from _ffn(config)
    yield from _shorthands(config)
    yield from _first_norm(config)
    if config.positions is not None:
        yield from _plugin(positions, config.positions, ("positions",))
    known = []
    wrong: dict[str, str] = {}
    installed = blocks.spellings()
    for i, spec in enumerate(config.layer_pattern):
        name, options = split_spec(spec)
        if name not in wrong and len(wrong) >= MAX_SUGGESTIONS and bare_name(name) not in installed:
            wrong[name] = f"unknown block {name!r}"
        if name in wrong:
            yield ("layer_pattern", i) if isinstance(spec, str) else ("layer_pattern", i, name), wrong[name]
            continue
        found = list(_plugin(blocks, spec, ("layer_pattern", i)))
        yield from found
        if not found:
            known.append((i, name, options))
        elif bare_name(name) not in installed:
            wrong[name] = found[0][1]
    yield from _heads(config, known)
    yield from _directions(config, known)
    yield from _position_kinds(config, known)


def _plugin(registry: Registry, spec: Any, path: KeyPath) -> Faults:
    """Yield a fault for an unknown name, a plugin that cannot be imported, and every wrong option."""
    name, options = split_spec(spec)
    where = path if isinstance(spec, str) else (*path, name)
    try:
        registry.entry(name)
        if options:
            for key, message in check_options(name, registry.get(name), options).items():
                yield (*where, key), message
    except UltraError as error:
        yield where, str(error)


def _ffn(config: UltraConfig) -> Faults:
    if config.ffn is not None:
        yield from _plugin(ffns, canonical_ffn_activations(config.ffn), ("ffn",))
    name, options = config.resolved_ffn()
    if bare_name(name) == "moe":
        if name not in ffns and not _names_moe(config):
            said = "use_moe is true" if config.use_moe else "use_moe is true unless it is set"
            yield ("use_moe",), f"{said}, and no installed package offers the ffn 'moe'; set use_moe: false"
        if config.top_k_experts > config.num_experts:
            yield (
                ("top_k_experts",),
                f"top_k_experts is {config.top_k_experts} but num_experts is {config.num_experts}; "
                "a token cannot be sent to more experts than there are",
            )
        expert = options.get("expert", "mlp")
        if _names_moe(config):
            yield from _plugin(ffns, expert, ("ffn", name, "expert"))
        name, options = split_spec(expert)
    if config.ffn_activation is not None and name in ffns:
        for _, message in _plugin(ffns, {name: {"activation": options["activation"]}}, ()):
            yield ("ffn_activation",), f"{message}, or for a gated FFN one of {listed(_gates())}"


def _gates() -> list[str]:
    """Return the aliases of FFNs that imply an activation, such as ``swiglu``."""
    others = [other for other, own in ffns.spellings().items() if other != own]
    known = [(other, ffns.canonical(other)[1]) for other in sorted(others)]
    return [repr(other) for other, alias in known if alias is not None and "activation" in alias.options]


def _names_moe(config: UltraConfig) -> bool:
    return config.ffn is not None and bare_name(split_spec(config.ffn)[0]) == "moe"


def _shorthands(config: UltraConfig) -> Faults:
    if config.ffn is not None:
        implied, activation = config.activation_shorthand()
        name, options = split_spec(canonical_spec(ffns, canonical_ffn_activations(config.ffn)))
        if _names_moe(config):
            name, options = split_spec(canonical_spec(ffns, options.get("expert", implied or "mlp")))
            if config.use_moe is False:
                yield ("use_moe",), "use_moe is false but ffn is moe; leave use_moe out, or name another ffn"
        said, given = options.get("activation"), repr(config.ffn_activation)
        if activation is not None and said not in (None, activation):
            yield (
                ("ffn_activation",),
                f"ffn_activation is {given} but ffn says activation {said!r}; leave one out",
            )
        elif implied not in (None, bare_name(name)):
            yield (
                ("ffn_activation",),
                f"ffn_activation {given} means {implied}, and ffn is {bare_name(name)!r}",
            )
    if config.positions is not None:
        yield from _rope(config, *split_spec(canonical_spec(positions, config.positions)))
    if config.positions is not None and config.use_hope is not None:
        code = bare_name(split_spec(config.positions)[0])
        if config.use_hope != (code == "hope"):
            value = str(config.use_hope).lower()
            yield ("use_hope",), f"use_hope is {value} but positions is {code!r}; leave use_hope out"


def _rope(config: UltraConfig, code: str, options: Mapping[str, Any]) -> Faults:
    """Yield a fault where a field of the model and an option of rope contradict each other."""
    for field, option in (("rope_base", "base"), ("rope_factor", "scaling")):
        said = getattr(config, field)
        if bare_name(code) == "rope" and said is not None and options.get(option, said) != said:
            yield (field,), f"{field} is {said} but positions says {option} {options[option]}; leave one out"


def _first_norm(config: UltraConfig) -> Faults:
    """Yield a fault where the norm before the first mixer cannot be left out."""
    if config.first_norm:
        return
    if config.norm_placement == "post":
        yield ("first_norm",), "first_norm is false but norm_placement is post, where no mixer has one"
    elif config.num_loops > 1:
        yield (
            ("first_norm",),
            f"first_norm is false but num_loops is {config.num_loops}: the embeddings are normalised before "
            "the first run of the stack only; leave first_norm out",
        )


def _heads(config: UltraConfig, known: list[Layer]) -> Faults:
    """Yield a fault for a head count that does not suit a block which takes it from the model."""
    for whole, part in (
        ("hidden_size", "num_heads"),
        ("hidden_size", "retention_heads"),
        ("num_heads", "num_kv_heads"),
    ):
        total, heads = getattr(config, whole), getattr(config, part)
        if heads is not None and total % heads:
            users = [name for _, name, options in known if _takes(name, options, part)]
            if users:
                who = ", ".join(dict.fromkeys(users))
                yield (part,), f"{whole} {total} is not a multiple of {part} {heads}, which {who} needs"


def _takes(name: str, options: Mapping[str, Any], field: str) -> bool:
    return any(o.from_model == field and key not in options for key, o in _signature(name).items())


def _signature(name: str) -> Mapping[str, Any]:
    """Return the options of a block; none if its import fails, which building it reports."""
    try:
        return read_options(blocks.get(name))
    except PluginError:
        return {}


def _directions(config: UltraConfig, known: list[Layer]) -> Faults:
    if not config.causal:
        return  # a block that supports only causal use refuses when it is built
    for i, name, _ in known:
        try:
            traits = getattr(blocks.get(name), "traits", None)
        except PluginError as error:
            yield ("layer_pattern", i), str(error)
            continue
        if not getattr(traits, "causal", True):
            yield (
                ("layer_pattern", i),
                f"the block {name} cannot be causal; choose another or set causal: false",
            )


def _position_kinds(config: UltraConfig, known: list[Layer]) -> Faults:
    """Yield a fault for a block that cannot apply its position code."""
    for i, name, options in known:
        spec = options.get("positions", config.positions)
        own = "positions" in options
        if spec is None or "positions" not in (signature := _signature(name)):
            continue
        if not own and signature["positions"].from_model is None:
            continue
        path: KeyPath = ("layer_pattern", i, name, "positions") if own else ("positions",)
        try:
            if own and (found := list(_plugin(positions, spec, path))):
                yield from found
                continue
            code, _ = split_spec(spec)
            kind = getattr(positions.get(code), "kind", None)
            traits = getattr(blocks.get(name), "traits", None)
        except (UltraError, ValueError) as error:
            if own:
                yield path, str(error)
            continue
        if kind == "embed" and own:
            yield path, f"{code} is added to the embeddings; set model.positions instead of this layer's"
        elif kind not in {"embed", "none", *getattr(traits, "positions", {kind})}:
            yield path, f"the block {name} cannot apply the position code {code}, which is of kind {kind!r}"
