"""Names from entry-point metadata; a class is imported only when it is asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import Distribution, distributions
from typing import Any

import attrs

from ultra_core.errors import NameClashError, PluginError, UnknownNameError, did_you_mean, listed

NAME = re.compile(r"[a-z][a-z0-9_]*")
BUILT_IN = frozenset({"ultra-core", "ultra-blocks", "ultra-optim", "ultra-train"})


@attrs.frozen
class Entry:
    """Where a name comes from; made from metadata alone."""

    name: str
    distribution: str
    version: str
    target: str
    """``module:attribute``."""
    value: Any = attrs.field(default=None, repr=False, eq=False)
    """The object itself, for names added at run time."""

    def load(self) -> Any:
        """Import and return what the entry points at.

        Raises:
            PluginError: the import fails; the reason is chained.
        """
        if self.value is not None:
            return self.value
        module, _, attribute = self.target.partition(":")
        try:
            found = import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        except Exception as error:
            raise PluginError(
                f"{self.name!r} of {self.distribution} {self.version} cannot be imported from {self.target}: "
                f"{type(error).__name__}: {error}"
            ) from error
        return found


def disabled(distribution: str) -> bool:
    """Whether ``ULTRA_DISABLE_PLUGINS`` (``a,b`` or ``*``) switches this distribution off."""
    names = {_normal(n) for n in os.environ.get("ULTRA_DISABLE_PLUGINS", "").split(",") if n.strip()}
    return distribution not in BUILT_IN and ("*" in names or distribution in names)


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


def installed_entries(group: str) -> Iterator[Entry]:
    """Yield the entries of a group over all installed, enabled distributions."""
    seen: set[str] = set()
    for dist in distributions():
        name = _normal(_name(dist))
        if name in seen or disabled(name):
            continue  # the first on sys.path is the one that imports
        seen.add(name)
        for point in dist.entry_points:
            if point.group == group:
                yield Entry(point.name, name, dist.version, point.value)


def _name(dist: Distribution) -> str:
    return dist.metadata["Name"] or ""


class Registry:
    """The installed names of one kind of plugin, such as ``ultra.blocks``."""

    def __init__(self, group: str, noun: str) -> None:
        self.group = group
        self.noun = noun
        self._added: list[Entry] = []
        self._installed: list[Entry] | None = None

    def _entries(self) -> list[Entry]:
        if self._installed is None:
            found = sorted(self._discover(), key=lambda e: (e.name, e.distribution))
            for entry in found:
                _check_name(entry.name, self.noun, entry.distribution)
            self._installed = found
        return self._installed + self._added

    def _discover(self) -> Iterator[Entry]:
        return installed_entries(self.group)

    def refresh(self) -> None:
        """Forget what was read from metadata, after distributions were installed or switched off."""
        self._installed = None

    def names(self) -> tuple[str, ...]:
        """Return every name on offer, sorted; a clash is listed once."""
        return tuple(sorted({e.name for e in self._entries()}))

    def entries(self) -> tuple[Entry, ...]:
        """Return every entry, clashes included, sorted by name."""
        return tuple(sorted(self._entries(), key=lambda e: (e.name, e.distribution)))

    def entry(self, name: str) -> Entry:
        """Return where a name comes from, importing nothing; ``distribution:name`` picks one of several.

        Raises:
            UnknownNameError: no enabled distribution offers it.
            NameClashError: two do, and the name does not say which.
        """
        wanted, short = self._split(name)
        found = [e for e in self._entries() if e.name == short and wanted in (None, e.distribution)]
        if not found:
            hint = did_you_mean(short, self.names())
            raise UnknownNameError(
                f"unknown {self.noun} {name!r}.{hint} Installed: {listed(self.names())}. "
                "A third party's package must be installed in this environment and not be switched off "
                "by ULTRA_DISABLE_PLUGINS."
            )
        if len(found) > 1:
            owners = [f"{e.distribution}:{e.name}" for e in found]
            raise NameClashError(
                f"{self.noun} {short!r} is offered by {len(found)} distributions; "
                f"write one of {listed(owners)} instead"
            )
        return found[0]

    @staticmethod
    def _split(name: str) -> tuple[str | None, str]:
        distribution, colon, short = name.rpartition(":")
        return (_normal(distribution) if colon else None), short

    def get(self, name: str) -> Any:
        """Import and return the object behind a name.

        Raises:
            PluginError: unknown, ambiguous, or it cannot be imported.
        """
        return self.entry(name).load()

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        wanted, short = self._split(name)
        return any(e.name == short and wanted in (None, e.distribution) for e in self._entries())

    def add(self, name: str, target: Any, *, source: str = "local") -> None:
        """Add a name at run time: ``"module:attribute"`` or the object itself.

        Raises:
            PluginError: the name is malformed.
            NameClashError: the same source already offers it.
        """
        _check_name(name, self.noun, source)
        source = _normal(source)
        if any(e.name == name and e.distribution == source for e in self._entries()):
            raise NameClashError(
                f"{self.noun} {name!r} is already offered by {source}; nothing is overwritten"
            )
        if isinstance(target, str):
            self._added.append(Entry(name, source, "", target))
        else:
            where = f"{getattr(target, '__module__', '?')}:{getattr(target, '__qualname__', type(target).__name__)}"
            self._added.append(Entry(name, source, "", where, target))


def _check_name(name: str, noun: str, source: str) -> None:
    if not NAME.fullmatch(name):
        raise PluginError(
            f"{source} offers the {noun} {name!r}; names are lower-case words: letters, digits, underscores"
        )


blocks = Registry("ultra.blocks", "block")
norms = Registry("ultra.norms", "norm")
ffns = Registry("ultra.ffns", "ffn")
positions = Registry("ultra.positions", "position code")
optimizers = Registry("ultra.optimizers", "optimizer")
schedules = Registry("ultra.schedules", "schedule")
models = Registry("ultra.models", "model class")
tasks = Registry("ultra.tasks", "task")
