"""Other names of keys and plugins, rewritten to the canonical ones before a file is checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ultra_blocks.config import split_spec
from ultra_core import models, schedules, tasks
from ultra_core.config import KeyPath, Source
from ultra_core.config.key_names import canonical_names, is_override
from ultra_core.config.strict import found
from ultra_core.contracts import SEED_ROLES
from ultra_core.errors import PluginError, key_of
from ultra_core.plugins.registry import Registry
from ultra_optim.roles.preset_keys import displaced
from ultra_train.config.other_names import is_another_name
from ultra_train.config.roles import roles_of_blocks

DECODER = "Ultra trains encoders; model.causal: true builds causal blocks"
"""What is said of decoders."""

PLAIN: tuple[tuple[KeyPath, Registry], ...] = (
    (("model_class",), models),
    (("training", "task"), tasks),
    (("training", "scheduler_type"), schedules),
)
"""Keys whose value is nothing but the name of a plugin."""

MODES: tuple[KeyPath, ...] = (("mode",), ("model", "mode"))


def translate(source: Source, cls: type) -> tuple[Source, list[str]]:
    """Return the file with canonical keys, choices and plugin names, and a line about each rewritten one.

    ``mode: encoder`` says what is always so and is left out; any other mode is a fault of the result.

    Args:
        source: the file.
        cls: the class of the whole file.
    """
    made, rewritten = canonical_names(source, cls)
    said = [f"{key_of(path)} is {name}" for path, name in rewritten]
    for path, registry in PLAIN:
        name, section = made.get(path), made.node(path[:-1])
        own, alias = registry.canonical(name) if isinstance(name, str) else (name, None)
        if alias is not None and section is not None and isinstance(section.value, dict):
            said.append(is_another_name(f"{key_of(path)} {name}", own, alias.remark))
            section.value[str(path[-1])] = replace(section.value[str(path[-1])], value=own)
    for path in MODES:
        said += _mode(made, path)
    return made, said


def drop_overridden(source: Source, path: KeyPath, *, bare: bool = False) -> None:
    """Remove the parameters of an optimizer section that overrides set under another name, or set to null.

    Args:
        source: the file, which is changed.
        path: path of the section.
        bare: parameters may do without the name of the optimizer.
    """
    name, section = source.get((*path, "optimizer_class")), source.node(path)
    node = source.node((*path, "parameters"))
    if not isinstance(name, str) or section is None or node is None or not isinstance(node.value, dict):
        return
    over = {key: child.plain() for key, child in node.value.items() if is_override(node.key_lines, key)}
    if not over:
        return
    pattern = source.get(("model", "layer_pattern"))
    names = [split_spec(item)[0] for item in pattern if _is_spec(item)] if isinstance(pattern, list) else []
    known = roles_of_blocks(tuple(names)) | set(SEED_ROLES)
    try:
        gone = displaced(name, node.value, over, roles=known, bare=bare)
    except PluginError:
        return  # there is no such optimizer, which is said elsewhere
    if gone and isinstance(section.value, dict):
        kept = {key: child for key, child in node.value.items() if key not in gone}
        section.value["parameters"] = replace(node, value=kept)


def _is_spec(item: object) -> bool:
    return isinstance(item, str) or (isinstance(item, dict) and len(item) == 1)


def _mode(source: Source, path: KeyPath) -> Iterator[str]:
    mode, section = source.node(path), source.node(path[:-1])
    if mode is None or section is None or not isinstance(section.value, dict):
        return
    given = mode.plain()
    if isinstance(given, str) and given.lower() == "encoder":
        yield f"{key_of(path)} encoder is what every model of ultra is"
    elif given is not None:
        source.faults.append(source.fault(path, f"expected encoder, found {found(given)}. {DECODER}"))
    del section.value["mode"]
