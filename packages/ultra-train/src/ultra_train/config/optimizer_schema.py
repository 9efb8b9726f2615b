"""The JSON Schema of an optimizer section, with every name that its parameters have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ultra_core import blocks, optimizers
from ultra_core.config.schema import options_schema, type_schema
from ultra_core.contracts import SEED_ROLES
from ultra_core.errors import PluginError
from ultra_optim.roles.option_aliases import OptionAlias
from ultra_optim.roles.option_names import ALIASES, OptionNames
from ultra_train.config.roles import roles_of_blocks

Schema = dict[str, Any]


def optimizer_schema(name: Schema) -> Schema:
    """Return the schema of an optimizer section: the class chooses which prefixed parameters there may be.

    Args:
        name: schema of the names of optimizers.
    """
    known = sorted(roles_of_blocks(blocks.names()) | set(SEED_ROLES))
    choices: list[Schema] = []
    for own in optimizers.names():
        try:
            cls = optimizers.get(own)
            options = options_schema(cls)["properties"]
        except PluginError:
            continue
        spelled = [own, *optimizers.aliases(own)]
        condition = {"properties": {"optimizer_class": {"enum": spelled}}, "required": ["optimizer_class"]}
        parameters = _parameters(OptionNames(own, cls, known), options, spelled)
        choices.append({"if": condition, "then": {"properties": {"parameters": parameters}}})
    return {**_section(name, {"type": "object"}), "allOf": choices}


def unprefixed_optimizer_schema(name: Schema) -> Schema:
    """Return the schema of a section whose keys may do without the optimizer's name; loading checks them.

    Args:
        name: schema of the names of optimizers.
    """
    return _section(name, {"type": "object", "propertyNames": {"pattern": "^([a-z0-9_]+-)?[a-zA-Z0-9_]+$"}})


def _section(name: Schema, parameters: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {"optimizer_class": name, "parameters": parameters},
        "required": ["optimizer_class"],
        "additionalProperties": False,
    }


def _parameters(names: OptionNames, options: Mapping[str, Schema], spelled: list[str]) -> Schema:
    """Return the schema of ``<name>-<hyperparameter>`` and ``<name>-<hyperparameter>_<role>``.

    Keys by another name of the optimizer are patterns: an editor need not offer them.
    """
    written = {name: _written(name, alias, options) for name, alias in names.names.items()}
    known = "|".join(names.roles)
    prefix, role = f"{names.prefix}-", f"_({known})"
    if len(spelled) > 1:
        prefix, role = f"({'|'.join(spelled)})-", f"({role})?"
    patterns: dict[str, Schema] = {}
    for name, schema in written.items():
        patterns[f"^{prefix}{name}{role}$"] = {w: said for w, said in schema.items() if w != "default"}
    for name, hint in names.idle.items():
        implied = names.implied.get(name)
        note = f"no effect: {implied.why if implied else f'{names.prefix} has none'}"
        patterns[f"^{prefix}{name}(_({known}))?$"] = {**type_schema(hint), "description": note}
    return {
        "type": "object",
        "properties": {f"{names.prefix}-{name}": schema for name, schema in written.items()},
        "patternProperties": patterns,
        "additionalProperties": False,
    }


def _written(name: str, alias: OptionAlias, options: Mapping[str, Schema]) -> Schema:
    """Return the schema of what may be written for an option by one of its names."""
    own = options[alias.of]
    items = own.get("prefixItems", [])
    schema = dict(own)
    if alias.part is not None:
        schema = dict(items[alias.part])
    elif alias.convert is not None:
        schema = {word: own[word] for word in ("description", "default") if word in own} | {"type": "number"}
    elif alias.of == "eps" and items:
        schema = _or_fewer(own, items[0])
    elif alias.of == "betas" and len(items) > 2:
        schema = _or_fewer(own, {"type": "array", "prefixItems": items[:2], "minItems": 2, "maxItems": 2})
    if name != alias.of and name not in ALIASES:
        schema["description"] = f"another name of {alias.of}"
        schema.pop("default", None)
    return schema


def _or_fewer(own: Schema, few: Schema) -> Schema:
    """Return the schema of a list that may also be written with fewer numbers."""
    shape = ("type", "prefixItems", "minItems", "maxItems")
    whole = {word: own[word] for word in shape if word in own}
    return {**{word: said for word, said in own.items() if word not in shape}, "anyOf": [whole, few]}
