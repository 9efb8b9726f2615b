"""JSON Schema (draft 2020-12) of configuration classes and of the options of installed plugins.

It accepts what ``ultra_core.config`` accepts, so that an editor can complete and check a preset. Rules
between several keys are checked only when a preset is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite
from typing import Any, Literal, get_args, get_origin

import attrs

from ultra_core.contracts import Range
from ultra_core.errors import PluginError
from ultra_core.plugins.describe import describe
from ultra_core.plugins.registry import Registry
from ultra_core.plugins.signatures import read_options
from ultra_core.plugins.types import TypeVisitor, is_writable, range_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def type_schema(hint: Any) -> Schema:
    """Return the schema of a type that a configuration class or an option may have."""
    return _TypeSchema().visit(hint)


class _TypeSchema(TypeVisitor[Schema]):
    def annotated(self, hint: Any, base: Any, *extras: Any) -> Schema:
        bounds = range_of(extras)
        return _bounded(self.visit(base), bounds) if bounds else self.visit(base)

    def scalar(self, hint: Any) -> Schema:
        return {"type": {bool: "boolean", int: "integer", float: "number", str: "string"}.get(hint, "null")}

    def literal(self, hint: Any, *choices: Any) -> Schema:
        return {"enum": list(choices)}

    def union(self, hint: Any, *members: Any) -> Schema:
        schemas = [self.visit(member) for member in members if is_writable(member)]
        unique = [schema for index, schema in enumerate(schemas) if schema not in schemas[:index]]
        return {} if {} in unique else unique[0] if len(unique) == 1 else {"anyOf": unique}

    def fixed_tuple(self, hint: Any, *items: Any) -> Schema:
        schemas = list(map(self.visit, items))
        return {"type": "array", "prefixItems": schemas, "minItems": len(items), "maxItems": len(items)}

    def sequence(self, hint: Any, item: Any) -> Schema:
        return {"type": "array", "items": self.visit(item)} if get_args(hint) else {"type": "array"}

    def mapping(self, hint: Any, key: Any, value: Any) -> Schema:
        keys = {"propertyNames": self.visit(key)} if get_origin(key) is Literal else {}
        values = {"additionalProperties": self.visit(value)} if get_args(hint) else {}
        return {"type": "object", **keys, **values}

    def section(self, hint: Any) -> Schema:
        return attrs_schema(get_origin(hint) or hint)

    def other(self, hint: Any, *parts: Any) -> Schema:
        return {}


_LIMITS = {"minimum": "min", "maximum": "max", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt"}
"""Keywords of JSON Schema and the attributes of ``Range`` that they correspond to."""


def _bounded(schema: Schema, bounds: Range) -> Schema:
    if "anyOf" in schema:
        return {"anyOf": [_bounded(part, bounds) for part in schema["anyOf"]]}
    if schema.get("type") not in ("integer", "number"):
        return schema
    limits = {keyword: getattr(bounds, name) for keyword, name in _LIMITS.items()}
    return schema | {
        keyword: limit for keyword, limit in limits.items() if limit is not None and isfinite(limit)
    }


def attrs_schema(cls: type, *, doc: bool = True) -> Schema:
    """Return the schema of an attrs class: one property per field and no additional ones.

    The description of a field is its ``metadata["help"]``; ``metadata["schema"]`` replaces the schema of its
    type; ``aliases`` and ``any_case`` are those of ``ultra_core.config.key_names``. ``doc`` adds the first
    line of the docstring of the class.
    """
    attrs.resolve_types(cls)
    properties: dict[str, Schema] = {}
    required = []
    for field in attrs.fields(cls):
        if not field.init:
            continue
        schema = dict(field.metadata.get("schema") or type_schema(field.type if field.type else Any))
        if schema.get("type") == "object" and not schema.get("required"):
            schema["type"] = ["object", "null"]  # YAML reads a key without content as null
        if text := field.metadata.get("help"):
            schema["description"] = text
        if field.default is attrs.NOTHING:
            required.append(field.name)
        schema |= _default(field.default)
        if field.metadata.get("any_case"):
            schema = _any_case(schema)
        properties[field.name] = schema
        for alias in field.metadata.get("aliases", ()):
            without_default = {word: value for word, value in schema.items() if word != "default"}
            properties[alias] = {**without_default, "description": f"another name of {field.name}"}
    made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        made["required"] = required
    summary = (cls.__doc__ or "").strip().splitlines()
    if doc and summary and not summary[0].startswith("Method generated"):
        made["description"] = summary[0]
    return made


def any_letters(word: str, joints: str = "") -> str:
    """Return a regular expression that matches a word in any case.

    Args:
        word: letters, digits, hyphens and underscores.
        joints: expression that matches between all letters, in place of hyphens and underscores.
    """
    cased = [f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in word]
    if joints:
        return joints.join(["", *(c for c in cased if c not in "-_"), ""])
    return "".join("[-_]" if c in "-_" else c for c in cased)


def _any_case(schema: Schema) -> Schema:
    """Return a schema that accepts its choices in any case and behind the name of an enumeration."""
    made = dict(schema)
    if "enum" in schema:
        texts = [any_letters(choice) for choice in schema["enum"] if isinstance(choice, str)]
        pattern = {"type": "string", "pattern": f"^([A-Z][A-Za-z0-9]*\\.)?({'|'.join(texts)})$"}
        made["anyOf"] = [{"enum": made.pop("enum")}, pattern]
        return made
    if "anyOf" in schema:
        made["anyOf"] = [_any_case(part) for part in schema["anyOf"]]
    if isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = _any_case(schema["additionalProperties"])
    return made


def options_schema(plugin: Callable[..., Any]) -> Schema:
    """Return the schema of the options that a preset may set for a plugin.

    Raises:
        PluginError: the signature cannot be read.
    """
    docs = {row.name: row.doc for row in describe(plugin).options}
    properties: dict[str, Schema] = {}
    for name, option in read_options(plugin).items():
        if not option.settable:
            continue
        schema = type_schema(option.type)
        if option.range is not None:
            schema = _bounded(schema, option.range)
        if docs.get(name):
            schema["description"] = docs[name]
        properties[name] = schema | _default(option.default)
    return {"type": "object", "properties": properties, "additionalProperties": False}


def named_schema(registry: Registry) -> Schema:
    """Return the schema of NAME or ``{NAME: {options}}`` for everything in a registry.

    ``distribution:name`` is accepted too. For a plugin that cannot be imported, any options are.
    """
    named: dict[str, Schema] = {}
    others: dict[str, Schema] = {}
    for entry in registry.entries():
        if entry.name not in named:
            name = f"{entry.distribution}:{entry.name}"
            named[entry.name] = _options_of(registry, name)
            note = {"description": f"another name of {entry.name}"}
            others |= {other: {**named[entry.name], **note} for other in registry.aliases(name)}
    named |= others
    words: list[Schema] = [{"enum": list(named)}, {"type": "string", "pattern": "^[^:]+:[a-z][a-z0-9_]*$"}]
    with_options = {
        "type": "object",
        "properties": named,
        "patternProperties": {"^[^:]+:[a-z][a-z0-9_]*$": {"type": ["object", "null"]}},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"anyOf": [*words, with_options]}


def _options_of(registry: Registry, name: str) -> Schema:
    try:
        return {"anyOf": [options_schema(registry.get(name)), {"type": "null"}]}
    except PluginError:
        return {}


def _default(value: Any) -> Schema:
    """Return the keyword ``default``, or nothing when the value cannot be represented in JSON."""
    try:
        return {"default": json.loads(json.dumps(value))}
    except (TypeError, ValueError):
        return {}
