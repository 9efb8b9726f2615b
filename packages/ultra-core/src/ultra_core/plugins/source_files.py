"""Finds and reads the source of a plugin without importing the plugin or its package."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from functools import lru_cache
from pathlib import Path

from ultra_core.plugins.metadata import Entry

MAX_STEPS = 8
"""Maximum number of re-exports (``from .x import Y``) to follow."""

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def package_folders(module: str) -> list[Path]:
    """Return the folders of a package, several for a namespace package; empty when it does not exist."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)  # imports nothing for a top-level name
    except (ImportError, ValueError):
        return []
    folders = [Path(p) for p in (spec.submodule_search_locations or ())] if spec else []
    return [folder for p in folders if (folder := p.joinpath(*rest)).is_dir()]


def source_file(module: str) -> Path | None:
    """Return the file of a module, or None when it is not written in Python or does not exist."""
    for folder in package_folders(module):
        if (file := folder / "__init__.py").is_file():
            return file
    parent, _, name = module.rpartition(".")
    if parent:
        for folder in package_folders(parent):
            if (file := folder / f"{name}.py").is_file():
                return file
        return None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def docstring(entry: Entry) -> str:
    """Return the docstring of the class or function behind an entry, of its module when it is neither."""
    if entry.value is not None:
        return inspect.getdoc(entry.value) or ""
    module, _, attribute = entry.target.partition(":")
    if (head := _head(module, attribute)) is not None:
        return ast.get_docstring(head) or ""
    found = _found(module, attribute)
    return ast.get_docstring(found) or "" if found is not None else ""


def definition(entry: Entry) -> Definition | None:
    """Return the syntax tree of the class or function behind an entry; None when it is neither."""
    module, _, attribute = entry.target.partition(":")
    found = _found(module, attribute)
    return found if isinstance(found, Definition) else None


def _found(module: str, attribute: str) -> Definition | ast.Module | None:
    """Return the definition of a name, following re-exports, or its module when the name is not defined."""
    for _ in range(MAX_STEPS):
        tree = _parsed(module)
        if tree is None:
            return None
        body, found = tree.body, None
        for part in attribute.split("."):
            found = next((n for n in body if isinstance(n, Definition) and n.name == part), None)
            body = found.body if found else []
        if found is not None:
            return found
        source = _imported_from(tree, attribute, module)
        if source is None:
            return tree
        module, attribute = source
    return None


def summary(entry: Entry) -> str:
    """Return the first line of the docstring of a plugin, read from its source; empty when there is none."""
    return next((line.strip() for line in docstring(entry).splitlines() if line.strip()), "")


def _head(module: str, name: str) -> Definition | None:
    """Return a top-level class or function truncated after its docstring, or None when that is not possible.

    Parsing whole files would take most of the time of ``ultra-train list``.
    """
    file = source_file(module)
    try:
        text = file.read_text("utf-8") if file else ""
        start = rf"^(class|def|async def) {re.escape(name)}\b.*?:\n+ +r?"
        found = re.search(start + r'(""").*?\2', text, re.M | re.S)
        (head,) = ast.parse(found[0]).body if found else (None,)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    return head if isinstance(head, Definition) and ast.get_docstring(head) else None


@lru_cache(maxsize=256)
def _parsed(module: str) -> ast.Module | None:
    file = source_file(module)
    try:
        return ast.parse(file.read_bytes()) if file else None
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def _imported_from(tree: ast.Module, name: str, module: str) -> tuple[str, str] | None:
    """Return module and name behind ``from X import Y [as name]``."""
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom):
            continue
        for alias in node.names:
            if (alias.asname or alias.name) != name:
                continue
            if not node.level:
                return node.module or "", alias.name
            file = source_file(module)
            is_package = file is not None and file.name == "__init__.py"
            up = module.split(".")[: len(module.split(".")) - node.level + is_package]
            return ".".join([*up, *([node.module] if node.module else [])]), alias.name
    return None
