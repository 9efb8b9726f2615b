"""Presets: an entry point names a package of YAML files; every file in it is a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultra_core.config.preset_meta import read_meta
from ultra_core.errors import PluginError
from ultra_core.plugins.metadata import Entry, installed_entries
from ultra_core.plugins.registry import Registry
from ultra_core.plugins.source_files import package_folders

NOT_PRESETS = frozenset({"schema"})
"""Stems of YAML files that lie among the presets without being one."""


class Presets(Registry):
    """The installed presets; ``get`` returns the path of the file."""

    def _installed(self) -> list[Entry]:
        return [
            Entry(file.stem, package.distribution, package.version, str(file))
            for package in installed_entries(self.group)
            for folder in package_folders(package.target)
            for file in sorted(folder.glob("*.yaml"))
            if file.stem not in NOT_PRESETS
        ]

    def broken(self) -> tuple[tuple[Entry, str], ...]:
        """Return malformed names and packages that are not there, each with the reason."""
        lost = [
            (package, f"the package {package.target} is not there")
            for package in installed_entries(self.group)
            if not package_folders(package.target)
        ]
        return (*super().broken(), *lost)

    def get(self, name: str) -> Path:
        """Return the file of a preset.

        Raises:
            PluginError: unknown, ambiguous, or the file is gone.
        """
        entry = self.entry(name)
        path = Path(entry.target)
        if not path.is_file():
            raise PluginError(f"the file of preset {name!r} of {entry.distribution} is gone: {path}")
        return path

    def meta(self, name: str) -> dict[str, Any]:
        """Return the section ``meta`` of a preset, reading no other; empty when it is absent or faulty."""
        return read_meta(self.get(name))

    def summary(self, entry: Entry) -> str:
        """Return ``meta.summary`` of a preset."""
        return str(read_meta(Path(entry.target)).get("summary", ""))

    def _local(self, name: str, target: Any, source: str) -> Entry:
        return Entry(name, source, "", str(target))
