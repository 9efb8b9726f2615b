"""Registries: names from entry-point metadata; a class is imported only when it is requested."""

from __future__ import annotations

import re
from typing import Any

from ultra_core.errors import NameClashError, PluginError, UnknownNameError, closest, did_you_mean, listed
from ultra_core.plugins import metadata
from ultra_core.plugins.aliases import Alias, aliases, resembles
from ultra_core.plugins.metadata import Entry, disabled, installed_entries, normal

__all__ = ["NAME", "Entry", "Registry", "disabled", "installed_entries"]

NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)


class Registry:
    """The installed names of one kind of plugin, such as ``ultra.blocks``."""

    def __init__(self, group: str, noun: str) -> None:
        self.group = group
        self.noun = noun
        self._added: list[Entry] = []

    def _installed(self) -> list[Entry]:
        return installed_entries(self.group)

    def _entries(self) -> list[Entry]:
        return [*self._installed(), *self._added]

    @staticmethod
    def refresh() -> None:
        """Clear the metadata cache after a distribution was installed while this process runs."""
        metadata.refresh()

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted; a name that two distributions offer is listed once."""
        return tuple(sorted({e.name for e in self.entries()}))

    def entries(self) -> tuple[Entry, ...]:
        """Return all entries, including clashes, sorted by name."""
        named = (e for e in self._entries() if NAME.fullmatch(e.name))
        return tuple(sorted(named, key=lambda e: (e.name, e.distribution)))

    def broken(self) -> tuple[tuple[Entry, str], ...]:
        """Return the entries that are unusable according to metadata alone, each with the reason."""
        unusable = (e for e in self._entries() if not NAME.fullmatch(e.name))
        return tuple((e, _malformed(e.name, self.noun)) for e in unusable)

    def aliases(self, name: str) -> dict[str, Alias]:
        """Return the aliases of an installed plugin."""
        taken = set(self.names())
        return {other: alias for other, alias in aliases(self.entry(name)).items() if other not in taken}

    def spellings(self) -> dict[str, str]:
        """Return all names and aliases, each with the name that it stands for."""
        found = {other: entry.name for entry in self.entries() for other in aliases(entry)}
        return {**found, **{name: name for name in self.names()}}

    def canonical(self, name: str) -> tuple[str, Alias | None]:
        """Return the name that an alias stands for, and the alias; any other name unchanged, with None."""
        distribution, colon, short = name.rpartition(":")
        if not self._named(name):
            for entry in self._find(name):
                return f"{distribution}{colon}{entry.name}", aliases(entry)[short]
        return name, None

    def entry(self, name: str) -> Entry:
        """Return where a name comes from without importing it; ``distribution:name`` selects one of several.

        An alias that a plugin declares leads to that plugin.

        Raises:
            UnknownNameError: no enabled distribution offers it.
            NameClashError: several offer it, and the name does not say which one is meant.
        """
        found = self._find(name)
        if not found:
            short = _split(name)[1]
            why = "" if NAME.fullmatch(short) else f" {_malformed(short, self.noun)}."
            close = self._resembling(short) or did_you_mean(short, self._near(short))
            raise UnknownNameError(
                f"unknown {self.noun} {name!r}.{close}{why} "
                f"Installed: {listed(self.names())}. A third party's package must be installed in this "
                "environment and not be switched off by ULTRA_DISABLE_PLUGINS."
            )
        if len(found) > 1:
            owners = [f"{e.distribution}:{e.name}" for e in found]
            raise NameClashError(
                f"{self.noun} {found[0].name!r} is offered by {len(found)} distributions; "
                f"write one of {listed(owners)} instead"
            )
        return found[0]

    def _find(self, name: str) -> list[Entry]:
        if found := self._named(name):
            return found
        distribution, short = _split(name)
        if not NAME.fullmatch(short):
            return []
        return [e for e in self.entries() if distribution in (None, e.distribution) and short in aliases(e)]

    def _named(self, name: str) -> list[Entry]:
        distribution, short = _split(name)
        return [e for e in self.entries() if e.name == short and distribution in (None, e.distribution)]

    def _resembling(self, name: str) -> str:
        said = [(e.name, what[name]) for e in self.entries() if name in (what := resembles(e))]
        return "".join(f" The closest is {close!r}, {what}." for close, what in said)

    def _near(self, name: str) -> list[str]:
        """Return the names and aliases that are similar to a name, at most one for each plugin."""
        own = self.spellings()
        found = {own[near]: near for near in reversed(closest(name, tuple(own)))}
        return list(found.values())

    def get(self, name: str) -> Any:
        """Import and return the object behind a name.

        Raises:
            PluginError: the name is unknown or ambiguous, or the import fails.
        """
        return self.entry(name).load()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self._find(name))

    def add(self, name: str, target: Any, *, source: str = "local") -> None:
        """Add a name at run time: ``"module:attribute"`` or the object; adding the same again has no effect.

        Raises:
            PluginError: the name is malformed.
            NameClashError: the same source already offers something else under this name.
        """
        if not NAME.fullmatch(name):
            raise PluginError(f"{source} offers a name that cannot be used: {_malformed(name, self.noun)}")
        source = normal(source)
        entry = self._local(name, target, source)
        same = [e for e in self._entries() if e.name == name and e.distribution == source]
        if any((e.target, e.value) == (entry.target, entry.value) for e in same):
            return
        if same:
            raise NameClashError(
                f"{self.noun} {name!r} is already offered by {source}; nothing is overwritten"
            )
        self._added.append(entry)

    def _local(self, name: str, target: Any, source: str) -> Entry:
        if isinstance(target, str):
            return Entry(name, source, "", target)
        attribute = getattr(target, "__qualname__", type(target).__name__)
        return Entry(name, source, "", f"{getattr(target, '__module__', '?')}:{attribute}", target)


def _split(name: str) -> tuple[str | None, str]:
    distribution, colon, short = name.rpartition(":")
    return (normal(distribution) if colon else None), short


def _malformed(name: str, noun: str) -> str:
    article = "an" if noun[0] in "aeiou" or noun == "ffn" else "a"
    return f"{name!r} cannot name {article} {noun}: names are lower-case letters, digits and underscores"
