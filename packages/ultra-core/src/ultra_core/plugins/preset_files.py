"""The registry of presets: an entry point names a package, and every YAML file in it is a preset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultra_core.errors import PluginError
from ultra_core.plugins.metadata import Entry, installed_entries
from ultra_core.plugins.registry import Registry
from ultra_core.plugins.source_files import package_folders

NOT_PRESETS = frozenset({"schema"})
"""Stems of YAML files in these packages that are not presets."""


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
        """Return malformed names and missing packages, each with the reason."""
        lost = [
            (package, f"the package {package.target} does not exist")
            for package in installed_entries(self.group)
            if not package_folders(package.target)
        ]
        return (*super().broken(), *lost)

    def get(self, name: str) -> Path:
        """Return the file of a preset.

        Raises:
            PluginError: the name is unknown or ambiguous, or the file no longer exists.
        """
        entry = self.entry(name)
        path = Path(entry.target)
        if not path.is_file():
            raise PluginError(f"the file of preset {name!r} of {entry.distribution} no longer exists: {path}")
        return path

    def _local(self, name: str, target: Any, source: str) -> Entry:
        return Entry(name, source, "", str(target))
