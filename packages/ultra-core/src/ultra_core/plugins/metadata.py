"""Entry points of the installed distributions, read once for all groups without importing anything."""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any

from ultra_core.errors import PluginError

BUILT_IN = frozenset({"ultra-core", "ultra-blocks", "ultra-optim", "ultra-train"})

_NAME = re.compile(r"^Name:[ \t]*(\S+)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """Where a name comes from, according to metadata alone.

    Attributes:
        name: the name in YAML.
        distribution: the normalised name of the distribution that offers it (``my-plugin``).
        version: the version of that distribution; empty for names added at run time.
        target: ``module:attribute``, or the path of a preset.
        value: the object itself, for names added at run time.
    """

    name: str
    distribution: str
    version: str
    target: str
    value: Any = field(default=None, repr=False, compare=False)

    def load(self) -> Any:
        """Import and return the object behind the entry.

        Raises:
            PluginError: the import fails; the reason is chained.
        """
        if self.value is not None:
            return self.value
        module, _, attribute = self.target.partition(":")
        try:
            found = import_module(module.strip())
            for part in filter(None, attribute.split(".")):
                found = getattr(found, part.strip())
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # importing a module may even call sys.exit()
            raise PluginError(
                f"{self.name!r} of {self.distribution} {self.version} cannot be imported from {self.target}: "
                f"{_reason(error)}. Repair or uninstall {self.distribution}, or switch it off "
                f"with ULTRA_DISABLE_PLUGINS={self.distribution}"
            ) from error
        return found


def _reason(error: BaseException) -> str:
    """Return an exception on one line, with the line of the plugin's code that raised it."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frames = traceback.extract_tb(error.__traceback__)[1:]
    own = [frame for frame in frames if not frame.filename.startswith("<frozen importlib")]
    own = [frame for frame in own if Path(frame.filename).parent.name != "importlib"]
    return f"{text} ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else text


def normal(distribution: str) -> str:
    """Return the normalised name of a distribution: ``My_Plugin`` is ``my-plugin``."""
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


def disabled(distribution: str) -> bool:
    """Whether ``ULTRA_DISABLE_PLUGINS`` (``a,b`` or ``*``) disables this distribution; never one of ours."""
    if distribution in BUILT_IN:
        return False
    names = {normal(n) for n in os.environ.get("ULTRA_DISABLE_PLUGINS", "").split(",") if n.strip()}
    return "*" in names or distribution in names


def installed_entries(group: str) -> list[Entry]:
    """Return the entries of a group from all installed and enabled distributions."""
    return [entry for entry in _scan(tuple(sys.path)).get(group, []) if not disabled(entry.distribution)]


def refresh() -> None:
    """Clear the cache after a distribution was installed or removed while this process runs."""
    importlib.invalidate_caches()
    _scan.cache_clear()


@lru_cache(maxsize=2)
def _scan(_path: tuple[str, ...]) -> dict[str, list[Entry]]:
    """Read every distribution on ``sys.path`` once; of several with one name, the first is importable."""
    groups: dict[str, list[Entry]] = {}
    seen: set[str] = set()
    for dist in distributions():
        name = _name(dist)
        if not name or name in seen:
            continue
        seen.add(name)
        if "[ultra." not in (dist.read_text("entry_points.txt") or ""):
            continue
        for point in _points(dist):
            if point.group.startswith("ultra."):
                entry = Entry(point.name, name, dist.version or "", point.value)
                groups.setdefault(point.group, []).append(entry)
    return groups


def _name(dist: Distribution) -> str:
    # `dist.name` parses all metadata, which takes a millisecond for each of hundreds of distributions
    text = dist.read_text("METADATA") or dist.read_text("PKG-INFO") or ""
    found = _NAME.search(text)
    return normal(found[1]) if found else ""


def _points(dist: Distribution) -> list[EntryPoint]:
    try:
        return list(dist.entry_points)
    except Exception:  # a malformed entry-point file offers nothing
        return []
