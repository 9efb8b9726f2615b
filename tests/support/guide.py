"""The pages of a guide: their code blocks, and what these define and register."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from ultra_core.plugins.kinds import KINDS

FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
LANGUAGES = {"python", "toml", "yaml", "console", "text"}
PACKAGE = "my_package"
"""The package of the reader, in which entry points find what the Python blocks define."""


class Block(NamedTuple):
    """A block of code, the language that its fence names, and the line where it starts."""

    language: str
    text: str
    line: int


class Page:
    """A page whose Python blocks are one module, executed in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.blocks = [
            Block(
                found[2], found[3].replace("\n" + found[1], "\n"), self.text.count("\n", 0, found.start()) + 2
            )
            for found in FENCE.finditer(self.text)
        ]
        self.module = ModuleType(f"{PACKAGE}.{path.stem}")

    def of(self, language: str) -> Iterator[Block]:
        """Yield the blocks in a language."""
        return (block for block in self.blocks if block.language == language)

    def execute(self) -> None:
        """Run the Python blocks; an error has the line of the page."""
        for block in self.of("python"):
            source = "\n" * (block.line - 1) + block.text
            exec(compile(source, str(self.path), "exec", dont_inherit=True), vars(self.module))

    def entry_points(self) -> dict[str, dict[str, str]]:
        """Return the entry points of the TOML blocks, by group and name."""
        found: dict[str, dict[str, str]] = {}
        for block in self.of("toml"):
            for group, entries in (
                tomllib.loads(block.text).get("project", {}).get("entry-points", {}).items()
            ):
                found.setdefault(group, {}).update(entries)
        return found

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Execute the page, and offer its entry points as an installed package would."""
        targets = [target for entries in self.entry_points().values() for target in entries.values()]
        modules = {target.partition(":")[0] for target in targets} | set(self._imported())
        for name in (PACKAGE, self.module.__name__, *modules):
            patch.setitem(sys.modules, name, self.module)
        self.execute()
        for group, entries in self.entry_points().items():
            registry = KINDS.get(group.removeprefix("ultra."))
            if registry is not None and group != "ultra.presets":
                patch.setattr(registry, "_added", list(registry._added))
                for name, target in entries.items():
                    registry.add(name, target, source="my-package")

    def _imported(self) -> list[str]:
        """Return the modules of the package that functions of the page import when they are called."""
        return re.findall(rf"^ +from ({PACKAGE}\.\w+) import", self.text, re.MULTILINE)


def attribute(target: str) -> Any:
    """Return what an entry point names: ``module:attribute``, or a module."""
    module, _, name = target.partition(":")
    return getattr(sys.modules[module], name) if name else sys.modules[module]
