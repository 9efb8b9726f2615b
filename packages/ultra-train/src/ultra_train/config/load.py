"""From the name of a preset or a file to a checked preset; all faults in one report."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path as FilePath
from typing import Any, TypeVar

from ultra_blocks.config import UltraConfig
from ultra_blocks.config.validation import type_faults
from ultra_core import presets
from ultra_core.config import ConfigError, Fault, Source, collect, from_tree, load_source, raise_faults
from ultra_train.config import optimizer_trial, places, rules, sparse_rules
from ultra_train.config.canonical import finish, finish_sparse, with_model
from ultra_train.config.dialect import translated
from ultra_train.config.notices import notices
from ultra_train.config.preset import Preset, PresetFile, SparseFile, SparsePreset
from ultra_train.config.sparse_notices import sparse_notices
from ultra_train.config.suggestions import suggestion

Path = tuple[str | int, ...]
T = TypeVar("T")

ROUNDS = 20
"""Most attempts to set faulty values aside; each finds what the one before it hid."""


def load_preset(name_or_path: str | FilePath, overrides: Iterable[str] = (), *, look: bool = False) -> Preset:
    """Load a preset that trains an encoder or continues a base model.

    Args:
        name_or_path: the name of an installed preset, or a YAML file.
        overrides: ``KEY=VALUE`` settings, checked like the file: ``training.batch_size=8``.
        look: whether to look for the data and models that it names on this machine, too.

    Raises:
        ConfigError: anything is wrong with it; every fault, each with its place.
        UnknownNameError: neither a file nor an installed preset.
    """
    source = open_preset(name_or_path, overrides)
    preset = from_source(source, _stem(name_or_path), look=look)
    if isinstance(preset, SparsePreset):
        message = "this preset is for a sparse encoder; there is no task here that trains one from it"
        raise ConfigError([source.fault(("model", "architecture"), message)])
    return preset


def load_any(
    name_or_path: str | FilePath, overrides: Iterable[str] = (), *, look: bool = False
) -> Preset | SparsePreset:
    """Load any preset, sparse ones too; see `load_preset`."""
    return from_source(open_preset(name_or_path, overrides), _stem(name_or_path), look=look)


def open_preset(name_or_path: str | FilePath, overrides: Iterable[str] = ()) -> Source:
    """Read an installed preset or a file; anything with a dot or a slash in it is a file."""
    name = str(name_or_path)
    separators = tuple(filter(None, (os.sep, os.altsep, ".")))
    if isinstance(name_or_path, FilePath) or any(s in name for s in separators) or FilePath(name).is_file():
        return load_source(name, overrides)
    return load_source(presets.get(name), overrides)


def _stem(name_or_path: str | FilePath) -> str:
    return FilePath(str(name_or_path)).stem.rpartition(":")[2]


def from_source(source: Source, name: str, *, look: bool = False) -> Preset | SparsePreset:
    """Check what was read and bring it into canonical form; see `load_preset` for ``look``.

    Raises:
        ConfigError: all faults of types and all contradictions between keys.
    """
    model = source.get(("model",))
    if isinstance(model, dict) and "architecture" in model:
        return _sparse(source, name, look)
    return _dense(source, name, look)


def _sparse(source: Source, name: str, look: bool) -> SparsePreset:
    source, renamed = translated(source, SparseFile)
    given = paths(source.tree)

    def contradictions(value: SparseFile) -> Iterator[tuple[Path, str]]:
        yield from sparse_rules.faults(value, given)
        if look:
            yield from sparse_rules.missing(value)

    preset = _checked(source, SparseFile, contradictions)
    absent = () if look else places.in_words(sparse_rules.missing(preset))
    return finish_sparse(preset, name, (*sparse_notices(preset, given, renamed), *absent))


def _model_faults(model: UltraConfig) -> list[tuple[Path, str]]:
    """Return the faults of a model; torch is imported only if its types and ranges are right."""
    if found := list(type_faults(model)):
        return found
    from ultra_blocks.encoder import config_faults  # imports torch

    return config_faults(model)


def _dense(source: Source, name: str, look: bool) -> Preset:
    source, renamed = translated(source, PresetFile)
    given = paths(source.tree)

    def contradictions(value: PresetFile) -> Iterator[tuple[Path, str]]:
        found = list(rules.too_many_sources(value.training))
        if found:
            yield from found  # looking at each, and at everything else, would take its time
            return
        found += rules.faults(value, given)
        if look:
            found += places.missing(value)
        complete = with_model(value, given)
        if complete.model is not None:
            found += ((("model", *path), message) for path, message in _model_faults(complete.model))
        yield from found or optimizer_trial.refusals(complete)

    preset = with_model(_checked(source, PresetFile, contradictions), given)
    absent = () if look else places.absent(preset)
    looked = (*absent, *places.by_default(preset), *places.not_looked_up(preset.training))
    lines = (*notices(preset, given, renamed), *looked)
    return finish(preset, name, lines)


def _checked(source: Source, cls: type[T], contradictions: Callable[[T], Iterable[tuple[Path, str]]]) -> T:
    """Return the whole file as an instance of ``cls``, or raise all faults of types and contradictions."""
    value, faults = collect(source, cls, suggest=partial(suggestion, source, cls))
    readable = value if value is not None else _set_aside(source, cls, faults)
    if readable is not None:
        shadows = _Shadows(faults)
        found = [source.fault(path, message) for path, message in contradictions(readable)]
        faults = faults + [fault for fault in found if not shadows.cover(fault)]
    raise_faults(source, faults)
    assert value is not None
    return value


def _set_aside(source: Source, cls: type[T], faults: list[Fault]) -> T | None:
    """Return the file without its faulty values, so that the rest can be checked; None if hopeless."""
    tree = source.tree
    for _ in range(ROUNDS):
        for fault in faults:
            _remove(tree, fault.path)
        value, faults = collect(from_tree(tree), cls)
        if value is not None:
            return value
    return None


def _remove(tree: dict[str, Any], path: Path) -> None:
    """Remove the key at a path; what is missing or an item of a list takes the section around it along."""
    while path:
        parent: Any = tree
        for part in path[:-1]:
            inside = isinstance(parent, dict) and part in parent
            inside = inside or (isinstance(parent, list) and isinstance(part, int) and part < len(parent))
            if not inside:
                return  # removed already, with something around it
            parent = parent[part]
        if isinstance(parent, dict) and path[-1] in parent:
            del parent[path[-1]]
            return
        path = path[:-1]


class _Shadows:
    """Keys whose own faults explain contradictions that would go away with them."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.paths: set[Path] = set()
        self.above: set[Path] = set()
        self.names: set[str] = set()
        for fault in faults:
            self.paths.add(fault.path)
            self.above.update(fault.path[:length] for length in range(1, len(fault.path) + 1))
            self.names.update(str(part) for part in fault.path[-1:])
            if "Did you mean" in fault.message:
                self.names.update(re.findall(r"'(\w+)'", fault.message))

    def cover(self, fault: Fault) -> bool:
        """Whether a contradiction stands at, above or below a faulty key, or speaks of one by its name."""
        above = (fault.path[:length] for length in range(1, len(fault.path) + 1))
        if fault.path in self.above or any(path in self.paths for path in above):
            return True
        words = {str(part) for part in fault.path[-1:]} | set(re.findall(r"\w+", fault.message))
        return bool(self.names & words)


def paths(tree: Any, path: Path = ()) -> frozenset[Path]:
    """Return the paths of all keys of a plain tree whose value is not null."""
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list):
        items = enumerate(tree)
    found: set[Path] = set()
    for key, value in items:
        if value is not None:
            found |= {(*path, key)} | paths(value, (*path, key))
    return frozenset(found)
