"""Aliases of a plugin, declared in its class and read without importing it.

::

    class GLA(Mixer):
        aliases: ClassVar[Mapping[str, Alias]] = {"gla_attn": Alias()}
        resembles: ClassVar[Mapping[str, str]] = {"sparsek_attn": "which keeps single keys instead of blocks"}

``resembles`` lists methods that are not available and differ from this one: the error about such a name says
which plugin is closest to it, and what differs.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ultra_core.errors import PluginError
from ultra_core.plugins.metadata import Entry
from ultra_core.plugins.source_files import definition


@dataclass(frozen=True)
class Alias:
    """What an alias of a plugin stands for.

    Attributes:
        options: options that the alias implies.
        remark: what a user of the alias should know.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""


def aliases(entry: Entry) -> dict[str, Alias]:
    """Return the aliases that a plugin declares; none when it cannot be read."""
    return {name: alias for name, alias in _declared(entry, "aliases").items() if isinstance(alias, Alias)}


def resembles(entry: Entry) -> dict[str, str]:
    """Return the names of similar methods that the plugin does not implement, each with what differs."""
    return {name: text for name, text in _declared(entry, "resembles").items() if isinstance(text, str)}


def _declared(entry: Entry, attribute: str) -> Mapping[str, Any]:
    """Return a mapping that the class of a plugin assigns: from its source where possible, else by import."""
    module, _, name = entry.target.partition(":")
    if entry.value is None and not name:
        return {}  # presets are files
    if entry.value is None and module not in sys.modules:
        node = definition(entry)
        try:
            if node is not None:
                return _literal(node, attribute)
        except ValueError:
            pass
    try:
        plugin = entry.load()
    except PluginError:
        return {}
    own = vars(plugin).get(attribute) if isinstance(plugin, type) else getattr(plugin, attribute, None)
    return own if isinstance(own, Mapping) else {}


def _literal(node: ast.AST, attribute: str) -> Mapping[str, Any]:
    """Return the mapping that the body of a class assigns to an attribute.

    Raises:
        ValueError: it is not a literal dict of strings and calls of ``Alias`` with literals.
    """
    for statement in getattr(node, "body", ()):
        if not isinstance(statement, (ast.Assign, ast.AnnAssign)):
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if any(isinstance(t, ast.Name) and t.id == attribute for t in targets):
            if not isinstance(statement.value, ast.Dict):
                raise ValueError(attribute)
            pairs = zip(statement.value.keys, statement.value.values, strict=True)
            return {str(ast.literal_eval(key)): _value(value) for key, value in pairs if key is not None}
    return {}


def _value(node: ast.expr) -> Any:
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    if node.args or not isinstance(node.func, ast.Name) or node.func.id != Alias.__name__:
        raise ValueError(ast.dump(node))
    return Alias(**{str(k.arg): ast.literal_eval(k.value) for k in node.keywords})
