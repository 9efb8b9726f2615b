"""Structures a ``Source`` into instances of attrs classes and reports all faults at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeVar

from ultra_core.config.source import Source
from ultra_core.config.strict import Problem, make_converter, problems
from ultra_core.errors import ConfigError, Fault, KeyPath

T = TypeVar("T")

converter = lru_cache(make_converter)


def structure(source: Source, cls: type[T], path: KeyPath = ()) -> T:
    """Return the section at a path as an instance of a class.

    Raises:
        ConfigError: the section or the syntax of the file has faults; all of them.
    """
    value, faults = collect(source, cls, path)
    raise_faults(source, faults)
    assert value is not None
    return value


def collect(
    source: Source, cls: type[T], path: KeyPath = (), suggest: Callable[[KeyPath], str] | None = None
) -> tuple[T | None, list[Fault]]:
    """Return the section at a path as an instance, or None and its faults.

    A section that is not in the file is read as an empty mapping. The faults that parsing found
    (``source.faults``) are not included; ``raise_faults`` adds them.

    Args:
        source: the file.
        cls: the class of the section.
        path: the keys that lead to the section.
        suggest: returns a hint about the unknown key at a path, which replaces the list of similar keys, or
            an empty string.
    """
    section = source.get(path, {})
    try:
        return converter().structure(section, cls), []
    except Exception as error:
        return None, [_fault(source, path, problem, suggest) for problem in problems(error)]


def _fault(
    source: Source, path: KeyPath, problem: Problem, suggest: Callable[[KeyPath], str] | None
) -> Fault:
    where = (*path, *problem.path)
    hint = suggest(where) if suggest is not None and problem.blames_key else ""
    return source.fault(where, f"unknown key; {hint}" if hint else problem.message, key=problem.blames_key)


def raise_faults(source: Source, faults: Iterable[Fault] = ()) -> None:
    """Raise one report of the given faults and of those that parsing found.

    A value that could not be parsed counts once: that it is missing afterwards is not another fault.

    Raises:
        ConfigError: there is at least one fault.
    """
    unparsed = {fault.path for fault in source.faults if source.get(fault.path) is None}
    everything = [*source.faults, *(fault for fault in faults if fault.path not in unparsed)]
    if everything:
        raise ConfigError(everything)
