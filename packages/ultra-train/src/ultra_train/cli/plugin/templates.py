"""The templates of ``ultra-train plugin new``: packages that are named ``plugin_name``, one for each kind.

A template is a folder of working files. The package of an author has the same files with other names, and
bounds on the versions of ultra that are installed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable

SHARED = "shared"
"""The folder of the files that the packages of all kinds have."""

GROUPS = {
    "block": "blocks",
    "norm": "norms",
    "ffn": "ffns",
    "position": "positions",
    "optimizer": "optimizers",
    "schedule": "schedules",
    "task": "tasks",
    "hook": "hooks",
}
"""The kinds of plugins that there are templates for, each with its plural."""

MODULE, CLASS, FUNCTION, DISTRIBUTION = "plugin_name", "PluginName", "plugin_function", "plugin-name"
"""The names in a template: of the plugin and its package, of its class or function, of the distribution."""

_SIBLING = re.compile(r'^( *|testing = \[)"(ultra-[a-z]+)(\[[a-z,]+\])?"', re.MULTILINE)


def written(kind: str, name: str) -> dict[str, bytes]:
    """Return the files of a package with a plugin, by their paths in the package.

    Args:
        kind: a key of ``GROUPS``.
        name: the name of the plugin, which is a Python identifier in lower case.
    """
    template = {path: file for folder in (SHARED, kind) for path, file in _files(_root() / folder)}
    code = b"".join(file.read_bytes() for path, file in template.items() if path.endswith(".py"))
    names = names_of(name, kind, words=set(re.findall(r"\w+", code.decode())))
    found = {}
    for path, file in template.items():
        text = _renamed(file.read_text(encoding="utf-8"), names)
        found[_renamed(path, names)] = (_bounded(text) if path == "pyproject.toml" else text).encode()
    return found


def names_of(name: str, kind: str, words: set[str]) -> dict[str, str]:
    """Return what stands for each name of a template; none is a word that the template uses otherwise."""
    title = "".join(part.capitalize() for part in name.split("_"))
    return {
        MODULE: name,
        CLASS: f"{title}{kind.capitalize()}" if title in words else title,
        FUNCTION: f"{name}_{kind}" if name in words else name,
        DISTRIBUTION: distribution_of(name),
    }


def distribution_of(name: str) -> str:
    """Return the name of the distribution of a plugin: ``my_block`` is ``my-block``."""
    return re.sub("_+", "-", name).strip("-")


def bounds(distribution: str) -> str:
    """Return the versions of an installed distribution that a plugin written now may expect to work with.

    These begin with the installed one, and end before the next that may change what plugins use: ``0.1.4``
    gives ``>=0.1,<0.2``, and ``2.3.0`` gives ``>=2.3,<3``.
    """
    installed = version(distribution)
    major, minor = (int(part) for part in re.findall(r"\d+", f"{installed}.0")[:2])
    final = re.fullmatch(r"[\d.]+", installed) is not None
    lowest = f"{major}.{minor}" if final else installed
    return f">={lowest},<{major + 1}" if major else f">={lowest},<0.{minor + 1}"


def _bounded(project: str) -> str:
    return _SIBLING.sub(lambda found: f'{found[1]}"{found[2]}{found[3] or ""}{bounds(found[2])}"', project)


def _renamed(text: str, names: Mapping[str, str]) -> str:
    return re.sub("|".join(names), lambda found: names[found[0]], text)


def _root() -> Traversable:
    return files("ultra_train").joinpath("plugin_templates")


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    """Yield the files of a template by path, without what tools leave behind."""
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_file():
            yield f"{prefix}{item.name}", item
        elif not item.name.endswith(("__pycache__", "_cache")):
            yield from _files(item, f"{prefix}{item.name}/")
