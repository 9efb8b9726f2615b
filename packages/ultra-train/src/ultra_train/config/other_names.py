"""Notices about other names of plugins in a preset."""

from __future__ import annotations

from collections.abc import Iterator

from ultra_blocks.config import UltraConfig, canonical_spec, split_spec
from ultra_core import blocks, ffns, norms, optimizers, positions
from ultra_core.plugins.registry import Registry


def other_names_in_model(model: UltraConfig) -> Iterator[str]:
    """Yield a notice for every plugin of a model that has another name in the preset."""
    for spec in dict.fromkeys(map(_name, model.layer_pattern)):
        yield from _other(blocks, spec, "model.layer_pattern")
    yield from _other(norms, _name(model.norm_type), "model.norm_type")
    if model.positions is not None:
        yield from _other(positions, _name(model.positions), "model.positions")
    for block in model.layer_pattern:
        own = split_spec(block)[1].get("positions")
        if own is not None:
            yield from _other(positions, _name(own), f"model.layer_pattern {_name(block)}.positions")
    if model.ffn is not None:
        yield from _other(ffns, _name(model.ffn), "model.ffn")
        expert = split_spec(canonical_spec(ffns, model.ffn))[1].get("expert")
        if expert is not None:
            yield from _other(ffns, _name(expert), "model.ffn.moe.expert")
    implied, activation = model.activation_shorthand()
    if activation != model.ffn_activation:
        whole = f"{implied} with activation {activation}" if implied else str(activation)
        yield f"model.ffn_activation {model.ffn_activation} is {whole}"


def other_name_of_optimizer(name: str, where: str) -> Iterator[str]:
    """Yield a notice when an optimizer has another name in the preset."""
    return _other(optimizers, name, f"{where}.optimizer_class")


def _other(registry: Registry, name: str, where: str) -> Iterator[str]:
    own, alias = registry.canonical(name)
    if alias is not None:
        options = "".join(f" with {key} {value}" for key, value in alias.options.items())
        yield is_another_name(f"{where} {name}", f"{own}{options}", alias.remark)


def is_another_name(what: str, own: str, remark: str) -> str:
    """Return the notice that something is another name of ``own``."""
    return f"{what} is {own} ({remark})" if remark else f"{what} is {own}"


def _name(spec: object) -> str:
    return split_spec(spec)[0]  # type: ignore[arg-type]
