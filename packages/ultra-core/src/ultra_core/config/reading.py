"""Strict configuration: YAML with positions into frozen attrs classes, every fault at once.

Use::

    source = load_source("preset.yaml", overrides=["training.batch_size=8"])   # or parse_source(text)
    preset = structure(source, Preset)                          # ConfigError with all faults
    training, faults = collect(source, Training, ("training",)) # (instance or None, faults): to add one's own
    faults.append(source.fault(("model", "num_heads"), "must divide hidden_size"))
    raise_faults(source, faults)                                # ConfigError when there is any
    print(dump(unstructure(preset)))

A class is an ordinary (frozen) attrs class. Its fields may be ``bool int float str None Any``,
``Literal[...]``, unions, ``list[X]``, ``tuple[X, ...]``, ``tuple[X, Y]``, ``dict[str, X]``,
``Mapping[str, X]``, ``Sequence[X]``, other attrs classes, and ``Annotated[X, Range(...)]`` anywhere.
Nothing is coerced: ``"false"`` is no bool, ``1`` is no bool, ``2.7`` is no int; an int fits a float.
A field without a default is required. ``ValueError`` from an attrs validator or ``__attrs_post_init__``
becomes a fault of its section. ``Any`` is left for the caller to check.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

from ultra_core.config.overrides import apply
from ultra_core.config.scalars import resolve
from ultra_core.config.source import Node, Source
from ultra_core.config.strict import Problem, found, make_converter, problems
from ultra_core.config.yaml_parser import parse, read_bytes
from ultra_core.errors import ConfigError, Fault, Path

__all__ = [
    "ConfigError",
    "Fault",
    "Path",
    "Source",
    "collect",
    "dump",
    "from_tree",
    "load_source",
    "parse_source",
    "raise_faults",
    "structure",
    "unstructure",
]

T = TypeVar("T")

converter = lru_cache(make_converter)


def load_source(file: str | FilePath, overrides: Iterable[str] = ()) -> Source:
    """Read a preset file and write ``KEY=VALUE`` overrides over it.

    Raises:
        ConfigError: the file cannot be read, or is not one YAML mapping.
    """
    return parse_source(read_bytes(file), overrides, file=str(file))


def parse_source(text: str | bytes, overrides: Iterable[str] = (), *, file: str = "<text>") -> Source:
    """Read a preset from text; ``file`` is its name in messages.

    Faults that leave the rest readable (a duplicate key, a tag, an override that does not fit) are kept in
    ``Source.faults`` and reported with those of `structure`.

    Raises:
        ConfigError: it is not one YAML mapping.
    """
    root, faults = parse(text, file)
    if root is None or root.value is None:
        raise ConfigError([*faults, Fault(file, 1, 1, (), "is empty; expected a mapping of keys to values")])
    if not isinstance(root.value, dict):
        message = f"expected a mapping of keys to values, found {found(root.plain())}"
        raise ConfigError([*faults, Fault(file, root.line, root.column, (), message)])
    for override in overrides:
        faults += apply(root, override)
    return Source(file, root, faults)


def from_tree(tree: Mapping[str, Any], *, file: str = "<mapping>") -> Source:
    """Return a source for a plain mapping that was made in Python; every position is line 1, column 1."""

    def node(value: Any) -> Node:
        if isinstance(value, Mapping):
            return Node({str(k): node(v) for k, v in value.items()}, file, 1, 1)
        if isinstance(value, (list, tuple)):
            return Node([node(v) for v in value], file, 1, 1)
        return Node(value, file, 1, 1)

    return Source(file, node(tree), [])


def structure(source: Source, cls: type[T], path: Path = ()) -> T:
    """Return the section at a path as an instance of a class.

    Raises:
        ConfigError: anything is wrong in the section or in the writing of the file; all faults.
    """
    value, faults = collect(source, cls, path)
    raise_faults(source, faults)
    assert value is not None
    return value


def collect(
    source: Source, cls: type[T], path: Path = (), suggest: Callable[[Path], str] | None = None
) -> tuple[T | None, list[Fault]]:
    """Return the section at a path as an instance, or None and the faults of its types.

    A section that is not in the file is read as an empty mapping. The faults of the writing
    (``source.faults``) are not among these; `raise_faults` adds them.

    Args:
        source: the file.
        cls: the class of the section.
        path: where the section stands.
        suggest: returns what is to be said of an unknown key at a path instead of the keys that are close to
            it, or an empty text.
    """
    section = source.get(path, {})
    try:
        return converter().structure(section, cls), []
    except Exception as error:
        return None, [_fault(source, path, problem, suggest) for problem in problems(error)]


def _fault(source: Source, path: Path, problem: Problem, suggest: Callable[[Path], str] | None) -> Fault:
    where = (*path, *problem.path)
    said = suggest(where) if suggest is not None and problem.blames_key else ""
    return source.fault(where, f"unknown key; {said}" if said else problem.message, key=problem.blames_key)


def raise_faults(source: Source, faults: Iterable[Fault] = ()) -> None:
    """Raise one report of the given faults and of those in the writing of the file.

    What could not be read is one fault: that nothing stands there then is no other.

    Raises:
        ConfigError: there is at least one.
    """
    lost = {fault.path for fault in source.faults if source.get(fault.path) is None}
    everything = [*source.faults, *(fault for fault in faults if fault.path not in lost)]
    if everything:
        raise ConfigError(everything)


def unstructure(value: Any) -> Any:
    """Return an instance as plain dicts, lists and scalars, every default filled in."""
    return _plain(converter().unstructure(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return value


class _Representer(SafeRepresenter):
    """Quotes every text that our reading of plain scalars would take for something else."""

    def represent_text(self, text: str) -> Any:
        try:
            is_text = isinstance(resolve(text), str) and text != "<<"
        except ValueError:
            is_text = False
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_text else "'")


_Representer.add_representer(str, _Representer.represent_text)


def dump(tree: Mapping[str, Any]) -> str:
    """Return a plain mapping as YAML text in its own order, which `parse_source` reads back unchanged."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.allow_unicode = True
    yaml.width = 4096
    stream = io.StringIO()
    yaml.dump(_plain(tree), stream)
    return stream.getvalue()
