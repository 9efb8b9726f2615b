"""JSON Schema (draft 2020-12) of configuration classes and of the options of installed plugins.

It accepts what `ultra_core.config` accepts, so that an editor completes and checks a preset while it is
written. What depends on several keys stays with the loader.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Annotated, Any, Literal, get_args, get_origin

import attrs

from ultra_core.contracts import Range
from ultra_core.errors import PluginError
from ultra_core.plugins.describe import describe
from ultra_core.plugins.registry import Registry
from ultra_core.plugins.signatures import read_options
from ultra_core.plugins.types import LISTS, MAPPINGS, UNIONS, is_writable

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_SCALARS: dict[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    type(None): "null",
    None: "null",
}


def type_schema(hint: Any) -> Schema:
    """Return the schema of a type that a configuration class or an option may have."""
    origin, args = get_origin(hint) or hint, get_args(hint)
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    if origin is Annotated:
        schema = type_schema(args[0])
        for extra in args[1:]:
            if isinstance(extra, Range):
                schema = _bounded(schema, extra)
        return schema
    if origin is Literal:
        return {"enum": list(args)}
    if origin in UNIONS:
        return _any_of([type_schema(part) for part in args if is_writable(part)])
    if origin is tuple and args and args[-1] is not Ellipsis:
        items = [type_schema(part) for part in args]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin in (*LISTS, tuple):
        return {"type": "array", "items": type_schema(args[0])} if args else {"type": "array"}
    if origin in MAPPINGS:
        keys = {"propertyNames": type_schema(args[0])} if args and get_origin(args[0]) is Literal else {}
        return {"type": "object", **keys, **({"additionalProperties": type_schema(args[1])} if args else {})}
    return attrs_schema(origin) if attrs.has(origin) else {}


def _bounded(schema: Schema, bounds: Range) -> Schema:
    if "anyOf" in schema:
        return {"anyOf": [_bounded(part, bounds) for part in schema["anyOf"]]}
    if schema.get("type") not in ("integer", "number"):
        return schema
    words = {
        "minimum": bounds.min,
        "maximum": bounds.max,
        "exclusiveMinimum": bounds.gt,
        "exclusiveMaximum": bounds.lt,
    }
    return {
        **schema,
        **{word: bound for word, bound in words.items() if bound is not None and isfinite(bound)},
    }


def _any_of(schemas: list[Schema]) -> Schema:
    if {} in schemas:
        return {}
    unique = [schema for index, schema in enumerate(schemas) if schema not in schemas[:index]]
    return unique[0] if len(unique) == 1 else {"anyOf": unique}


def attrs_schema(cls: type, *, doc: bool = True) -> Schema:
    """Return the schema of an attrs class: one property a field, no others.

    A field's text comes from ``metadata["help"]``; ``metadata["schema"]`` replaces what its type says;
    ``aliases`` and ``any_case`` are those of `ultra_core.config.key_names`.
    ``doc`` adds the first line of the class's docstring.
    """
    attrs.resolve_types(cls)
    properties: dict[str, Schema] = {}
    required = []
    for field in attrs.fields(cls):
        if not field.init:
            continue
        schema = dict(field.metadata.get("schema") or type_schema(field.type if field.type else Any))
        if schema.get("type") == "object" and not schema.get("required"):
            schema["type"] = ["object", "null"]  # a section with nothing under it
        if text := field.metadata.get("help"):
            schema["description"] = text
        if field.default is attrs.NOTHING:
            required.append(field.name)
        elif _is_json(field.default):
            schema["default"] = _json(field.default)
        if field.metadata.get("any_case"):
            schema = _any_case(schema)
        properties[field.name] = schema
        for alias in field.metadata.get("aliases", ()):
            plain = {word: said for word, said in schema.items() if word != "default"}
            properties[alias] = {**plain, "description": f"another name of {field.name}"}
    made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        made["required"] = required
    summary = (cls.__doc__ or "").strip().splitlines()
    if doc and summary and not summary[0].startswith("Method generated"):
        made["description"] = summary[0]
    return made


def any_letters(word: str, joints: str = "") -> str:
    """Return the pattern of a word in any case.

    Args:
        word: letters, digits, hyphens and underscores.
        joints: pattern of what stands for a hyphen or an underscore, or for nothing between two letters.
    """
    cased = [f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in word]
    if joints:
        return joints.join(["", *(c for c in cased if c not in "-_"), ""])
    return "".join("[-_]" if c in "-_" else c for c in cased)


def _any_case(schema: Schema) -> Schema:
    """Return a schema whose choices may be written in any case and after the name of an enumeration."""
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
        if not option.required and _is_json(option.default):
            schema["default"] = _json(option.default)
        properties[name] = schema
    return {"type": "object", "properties": properties, "additionalProperties": False}


def named_schema(registry: Registry) -> Schema:
    """Return the schema of NAME or ``{NAME: {options}}`` over everything that a registry offers.

    ``distribution:name`` is accepted too. A plugin that cannot be imported keeps its name; its options are
    then anything.
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


def _is_json(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    return value is None or isinstance(value, (bool, int, float, str))


def _json(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    return {key: _json(item) for key, item in value.items()} if isinstance(value, dict) else value
