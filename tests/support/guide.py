"""The pages of a guide: their code blocks, and the package that these make."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ultra_core.plugins.kinds import KINDS

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LANGUAGES = {"python", "toml", "yaml", "console", "text"}
PACKAGE = "my_package"
"""The package of the reader, which the entry points of the guide name."""

FILE = re.compile(rf"# ({PACKAGE}/\w+\.py)\n")
"""The first line of a block that belongs into a file of the package."""


class Block(NamedTuple):
    """A block of code, the language that its fence names, and the line where it starts."""

    language: str
    text: str
    line: int


class Page:
    """A page of the guide.

    Python blocks that begin with the path of a file are that file, one after the other; all others are run
    with the names of these files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.blocks = [
            Block(found[1], found[2], self.text.count("\n", 0, found.start()) + 2)
            for found in FENCE.finditer(self.text)
        ]

    def of(self, language: str) -> Iterator[Block]:
        """Yield the blocks in a language."""
        return (block for block in self.blocks if block.language == language)

    def files(self) -> dict[str, str]:
        """Return the files of the package by path."""
        found: dict[str, str] = {f"{PACKAGE}/__init__.py": ""}
        for block in self.of("python"):
            if match := FILE.match(block.text):
                found[match[1]] = found.get(match[1], "") + block.text
        return found

    def entry_points(self) -> dict[str, dict[str, str]]:
        """Return the entry points of the TOML blocks, by group and name."""
        found: dict[str, dict[str, str]] = {}
        for block in self.of("toml"):
            project = tomllib.loads(block.text)["project"]
            for group, entries in project.get("entry-points", {}).items():
                found.setdefault(group, {}).update(entries)
        return found

    def install(self, folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
        """Write the package into a folder, offer its entry points, and run the blocks that are no files.

        Returns:
            the names that its modules and the blocks define.
        """
        files = self.files()
        for path, text in files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        names: dict[str, Any] = {}
        modules = [path.removesuffix(".py").replace("/", ".") for path in files]
        for module in [PACKAGE, *modules]:
            patch.setitem(sys.modules, module, None)
            del sys.modules[module]  # undone with the patch
        for module in modules[1:]:
            names |= vars(import_module(module))
        self._offer(patch)
        for block in self.of("python"):
            if not FILE.match(block.text):
                source = "\n" * (block.line - 1) + block.text
                exec(compile(source, str(self.path), "exec", dont_inherit=True), names)
        return names

    def _offer(self, patch: pytest.MonkeyPatch) -> None:
        """Add the entry points to the registries, as if the package were installed."""
        for group, entries in self.entry_points().items():
            registry = KINDS.get(group.removeprefix("ultra."))
            if registry is not None and group != "ultra.presets":
                patch.setattr(registry, "_added", list(registry._added))
                for name, target in entries.items():
                    registry.add(name, target, source="my-package")


def attribute(target: str) -> Any:
    """Return what an entry point names: ``module:attribute``, or a module."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name) if name else import_module(module)
