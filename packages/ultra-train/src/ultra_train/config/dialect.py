"""Keys and names as other files of the family write them, rewritten to ours before a file is checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ultra_blocks.config import UltraConfig, canonical_spec, split_spec
from ultra_core import blocks, ffns, models, norms, optimizers, positions, schedules, tasks
from ultra_core.config import Source
from ultra_core.config.key_names import is_override, own_names
from ultra_core.config.strict import found
from ultra_core.contracts import SEED_ROLES
from ultra_core.errors import PluginError, key_of
from ultra_core.plugins.registry import Registry
from ultra_optim.roles.preset_keys import displaced
from ultra_train.config.optimizer_rules import roles
from ultra_train.config.rules import DECODER

Path = tuple[str | int, ...]

PLAIN: tuple[tuple[Path, Registry], ...] = (
    (("model_class",), models),
    (("training", "task"), tasks),
    (("training", "scheduler_type"), schedules),
)
"""Keys whose value is nothing but the name of a plugin."""

OPTIMIZERS: tuple[tuple[Path, bool], ...] = (
    (("training", "optimizer"), False),
    (("training", "sbert", "optimizer"), True),
)
"""The optimizer sections, and whether their keys may do without the name of the optimizer."""

MODES: tuple[Path, ...] = (("mode",), ("model", "mode"))


def translated(source: Source, cls: type) -> tuple[Source, list[str]]:
    """Return the file with keys, choices and plain names as ultra has them, and what was rewritten, in words.

    ``mode: encoder`` says what is always so and is left out; any other mode is a fault of the result.
    """
    made, rewritten = own_names(source, cls)
    said = [f"{key_of(path)} is {name}" for path, name in rewritten]
    for path, registry in PLAIN:
        name, section = made.get(path), made.node(path[:-1])
        own, alias = registry.canonical(name) if isinstance(name, str) else (name, None)
        if alias is not None and section is not None and isinstance(section.value, dict):
            said.append(_renamed(f"{key_of(path)} {name}", own, alias.remark))
            section.value[str(path[-1])] = replace(section.value[str(path[-1])], value=own)
    for path in MODES:
        said += _mode(made, path)
    for path, bare in OPTIMIZERS:
        _displace(made, path, bare)
    return made, said


def _displace(source: Source, path: Path, bare: bool) -> None:
    """Take out of an optimizer section what overrides say by other names, and what they set to nothing."""
    name, section = source.get((*path, "optimizer_class")), source.node(path)
    node = source.node((*path, "parameters"))
    if not isinstance(name, str) or section is None or node is None or not isinstance(node.value, dict):
        return
    over = {key: child.plain() for key, child in node.value.items() if is_override(node.key_lines, key)}
    if not over:
        return
    pattern = source.get(("model", "layer_pattern"))
    names = [split_spec(item)[0] for item in pattern if _is_spec(item)] if isinstance(pattern, list) else []
    known = roles(tuple(names)) | set(SEED_ROLES)
    try:
        gone = displaced(name, node.value, over, roles=known, bare=bare)
    except PluginError:
        return  # there is no such optimizer, which is said elsewhere
    if gone and isinstance(section.value, dict):
        kept = {key: child for key, child in node.value.items() if key not in gone}
        section.value["parameters"] = replace(node, value=kept)


def _is_spec(item: object) -> bool:
    return isinstance(item, str) or (isinstance(item, dict) and len(item) == 1)


def _mode(source: Source, path: Path) -> Iterator[str]:
    mode, section = source.node(path), source.node(path[:-1])
    if mode is None or section is None or not isinstance(section.value, dict):
        return
    given = mode.plain()
    if isinstance(given, str) and given.lower() == "encoder":
        yield f"{key_of(path)} encoder is what every model of ultra is"
    elif given is not None:
        source.faults.append(source.fault(path, f"expected encoder, found {found(given)}. {DECODER}"))
    del section.value["mode"]


def names_of_the_model(model: UltraConfig) -> Iterator[str]:
    """Yield in words which names of plugins in a model are other names of theirs."""
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


def name_of_the_optimizer(name: str, where: str) -> Iterator[str]:
    """Yield in words that the name of an optimizer is another name of it."""
    return _other(optimizers, name, f"{where}.optimizer_class")


def _other(registry: Registry, name: str, where: str) -> Iterator[str]:
    own, alias = registry.canonical(name)
    if alias is not None:
        options = "".join(f" with {key} {value}" for key, value in alias.options.items())
        yield _renamed(f"{where} {name}", f"{own}{options}", alias.remark)


def _renamed(what: str, own: str, remark: str) -> str:
    return f"{what} is {own} ({remark})" if remark else f"{what} is {own}"


def _name(spec: object) -> str:
    return split_spec(spec)[0]  # type: ignore[arg-type]
