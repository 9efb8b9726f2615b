"""YAML text to nodes with positions.

Scalars follow the core schema of YAML 1.2: ``1e-6`` is a number, ``yes`` is a text. Anchors and aliases
work; tags, merge keys, duplicate keys, keys that are not texts, numbers that are not finite and several
documents are faults. Whatever the bytes are, the outcome is nodes or a `ConfigError`.
"""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

from ultra_core.config.scalars import FORBIDDEN, Scalar, resolve
from ultra_core.config.source import Node
from ultra_core.config.yaml_events import events
from ultra_core.errors import ConfigError, Fault

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_NODES = 100_000


def read_bytes(file: FilePath | str) -> bytes:
    """Read a preset file.

    Raises:
        ConfigError: it is missing, a folder, unreadable or far too large to be a preset.
    """
    try:
        with open(file, "rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError([Fault(str(file), 1, 1, (), "no such file")]) from None
    except IsADirectoryError:
        raise ConfigError([Fault(str(file), 1, 1, (), "is a folder; expected a YAML file")]) from None
    except (OSError, ValueError) as error:
        raise ConfigError([Fault(str(file), 1, 1, (), f"cannot be read: {error}")]) from error
    if len(data) > MAX_BYTES:
        message = f"is larger than {MAX_BYTES} bytes; expected a preset, a short YAML file"
        raise ConfigError([Fault(str(file), 1, 1, (), message)])
    return data


def parse(data: str | bytes, file: str = "<text>") -> tuple[Node | None, list[Fault]]:
    """Parse one YAML document into nodes; None when there is no document.

    Returns:
        The root and the faults that did not stop the reading (duplicate keys, tags, ...).

    Raises:
        ConfigError: the text is no YAML; one fault, where reading stopped.
    """
    text = _decode(data, file)
    builder = _Builder(file)
    try:
        for event in events(text):
            builder.take(event)
    except ConfigError:
        raise
    except Exception as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        if mark is not None:
            said = (getattr(error, "context", None), getattr(error, "problem", None))
            message = "not valid YAML: " + " ".join(str(s) for s in said if s)
            place = (mark.line + 1, mark.column + 1)
            raise ConfigError([*builder.faults, Fault(file, *place, (), message)]) from error
        # ruamel lets plain exceptions of many types escape for malformed directives and escapes
        message = f"not valid YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        raise ConfigError([*builder.faults, Fault(file, *builder.last, (), message)]) from error
    return builder.root, builder.faults


def _decode(data: str | bytes, file: str) -> str:
    if isinstance(data, bytes):
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line, column = _line_column(data[: error.start].decode("utf-8"))
            message = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8 text"
            raise ConfigError([Fault(file, line, column, (), message)]) from error
    else:
        text = data
    text = text.removeprefix("\ufeff")
    if found := FORBIDDEN.search(text):
        line, column = _line_column(text[: found.start()])
        message = f"character U+{ord(found[0]):04X} is not allowed in YAML; is this a text file?"
        raise ConfigError([Fault(file, line, column, (), message)])
    return text


def _line_column(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


class _Builder:
    """Builds nodes from parser events without recursion, so that no nesting can exhaust the stack."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Node | None = None
        self.faults: list[Fault] = []
        self.last = (1, 1)
        self._end: Any = None  # where the event before this one ended: the place of a value that is not there
        self._documents = 0
        self._open: list[tuple[Node, str | None]] = []  # collections being filled, with the anchor of each
        self._keys: list[str | None] = []  # the key that waits for its value, one for each open collection
        self._path: list[str | int] = []
        self._anchors: dict[str, Node | None] = {}  # None while the anchored collection is still open

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        is_nothing = kind == "ScalarEvent" and event.implicit[0] and not event.value
        mark = self._end if is_nothing and self._end else event.start_mark
        self.last = (mark.line + 1, mark.column + 1)
        self._end = event.end_mark
        if kind == "DocumentStartEvent":
            self._document(event)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            self._close()
        elif kind in ("ScalarEvent", "AliasEvent", "MappingStartEvent", "SequenceStartEvent"):
            self._value(event, kind)

    def _stop(self, message: str) -> None:
        raise ConfigError([*self.faults, Fault(self.file, *self.last, tuple(self._path), message)])

    def _note(self, message: str) -> None:
        self.faults.append(Fault(self.file, *self.last, tuple(self._path), message))

    def _document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop("a second document starts here; a preset is one document, remove the '---'")
        if event.version or event.tags:
            self._note("directives (lines that start with %) are not supported; presets are YAML 1.2")

    def _value(self, event: Any, kind: str) -> None:
        top = self._open[-1][0] if self._open else None
        if top is not None and isinstance(top.value, dict) and self._keys[-1] is None:
            self._key(event, kind, top)
            return
        if top is not None and isinstance(top.value, list):
            self._path[-1] = len(top.value)
        if kind == "AliasEvent":
            self._attach(self._alias(event))
            return
        if event.tag is not None:
            self._note(f"the tag {event.tag} is not supported; write plain YAML values")
        if kind == "ScalarEvent":
            node = Node(self._scalar(event), self.file, *self.last)
            if event.anchor:
                self._anchors[event.anchor] = node
            self._attach(node)
            return
        if len(self._open) >= MAX_DEPTH:
            self._stop(f"nested deeper than {MAX_DEPTH} levels")
        node = Node({} if kind == "MappingStartEvent" else [], self.file, *self.last)
        if event.anchor:
            self._anchors[event.anchor] = None
        self._open.append((node, event.anchor))
        self._keys.append(None)
        self._path.append(0)

    def _scalar(self, event: Any) -> Scalar:
        if found := FORBIDDEN.search(event.value):  # by an escape in double quotes
            self._note(f"character U+{ord(found[0]):04X} is not allowed in a text")
            return None
        if not event.implicit[0]:  # quoted, a block text, or tagged
            return str(event.value)
        try:
            return resolve(event.value)
        except ValueError as error:
            self._note(f"{error}")
            return None

    def _key(self, event: Any, kind: str, mapping: Node) -> None:
        if kind != "ScalarEvent":
            self._stop("a key must be a text, not a list, a mapping or an alias")
        key = str(event.value)
        self._path[-1] = key
        if event.tag is not None:
            self._note(f"the tag {event.tag} is not supported; write plain YAML keys")
        elif FORBIDDEN.search(key):
            key = self._path[-1] = FORBIDDEN.sub("?", key)
            self._note("a key with characters that are not allowed in a text")
        elif key == "<<" and event.implicit[0]:
            self._note("merge keys (<<) are not supported; write the keys out")
        elif event.implicit[0]:
            try:
                is_text = isinstance(resolve(key), str)
            except ValueError:
                is_text = False
            if not is_text:
                self._note(f"a key must be a text; put {key or 'the empty key'} in quotes")
        if key in mapping.key_lines:
            self._note(f"the key is here twice; the first is in line {mapping.key_lines[key][1]}")
        mapping.key_lines[key] = (self.file, *self.last)
        self._keys[-1] = key

    def _alias(self, event: Any) -> Node:
        if event.anchor not in self._anchors:
            self._stop(f"the alias *{event.anchor} has no anchor &{event.anchor} above it")
        target = self._anchors[event.anchor]
        if target is None:
            self._stop(f"the alias *{event.anchor} stands inside its own anchor")
        assert target is not None
        if len(self._open) + target.depth > MAX_DEPTH:
            self._stop(f"nested deeper than {MAX_DEPTH} levels")
        return target

    def _attach(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        parent, _ = self._open[-1]
        parent.size += node.size
        parent.depth = max(parent.depth, 1 + node.depth)
        if parent.size > MAX_NODES:
            self._stop(f"more than {MAX_NODES} values; expected a preset, a short YAML file")
        if isinstance(parent.value, dict):
            key = self._keys[-1]
            assert key is not None
            parent.value[key] = node
            self._keys[-1] = None
        elif isinstance(parent.value, list):
            parent.value.append(node)

    def _close(self) -> None:
        node, anchor = self._open.pop()
        self._keys.pop()
        self._path.pop()
        if anchor:
            self._anchors[anchor] = node
        self._attach(node)
