"""Describes a plugin: its options from the signature, everything else from the docstring."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ultra_core.plugins.signatures import Option, read_options
from ultra_core.plugins.types import words

_SECTION = re.compile(r"^(Args|Attributes|Cost|Differs from the paper|Examples?|Note|References?|Paper|Raises"
                      r"|Returns|Shapes?|Yields):[ \t]*(.*)$")  # fmt: skip
_ITEM = re.compile(r"^(\*{0,2}\w+)(?: \([^)]*\))?:\s*(.*)$")


@dataclass(frozen=True)
class OptionRow:
    """One row of the table of options, ready to print.

    Attributes:
        name: the key in YAML.
        type: description of the type, with its range: ``a whole number >= 1``.
        default: the default in YAML; empty when the option is required or comes from the caller.
        from_model: the field of the model config that supplies it, or empty.
        settable: False when only the caller supplies it.
        doc: its description in the docstring.
    """

    name: str
    type: str
    default: str
    from_model: str
    settable: bool
    doc: str


@dataclass(frozen=True)
class Description:
    """The description of a plugin.

    Attributes:
        summary: first paragraph of the docstring, on one line.
        body: the paragraphs between the summary and the first section.
        options: one row per argument of the constructor.
        sections: the named sections of the docstring (``Cost``, ``Reference``, ``Shapes``, ``Raises``,
            ``Differs from the paper``, ...) without the arguments.
    """

    summary: str
    body: str
    options: tuple[OptionRow, ...]
    sections: Mapping[str, str]

    @property
    def reference(self) -> str:
        """The paper; empty when the docstring does not name one."""
        names = ("Reference", "References", "Paper")
        return next((self.sections[name] for name in names if name in self.sections), "")

    @property
    def cost(self) -> str:
        """Time and memory; empty when the docstring does not say."""
        return self.sections.get("Cost", "")

    @property
    def differs(self) -> str:
        """What differs from the paper; empty when the docstring does not say."""
        return self.sections.get("Differs from the paper", "")


def describe(plugin: Callable[..., Any]) -> Description:
    """Describe a class or factory.

    Raises:
        PluginError: its signature cannot be read.
    """
    text, sections = docstring_sections(inspect.getdoc(plugin) or "")
    made_by = inspect.getdoc(plugin.__init__) if inspect.isclass(plugin) else ""
    docs = {**items(docstring_sections(made_by or "")[1].get("Args", "")), **items(sections.pop("Args", ""))}
    first, _, body = text.partition("\n\n")
    rows = tuple(_row(option, docs.get(name, "")) for name, option in read_options(plugin).items())
    return Description(" ".join(first.split()), body.strip(), rows, sections)


def _row(option: Option, doc: str) -> OptionRow:
    settable = option.settable
    return OptionRow(
        name=option.name,
        type=words(option.type, option.range) if settable else "",
        default=as_yaml(option.default) if settable and not option.required else "",
        from_model=option.from_model or "",
        settable=settable,
        doc=doc,
    )


def docstring_sections(docstring: str) -> tuple[str, dict[str, str]]:
    """Split a docstring into the text before its first section, and its sections by title."""
    text: list[str] = []
    sections: dict[str, list[str]] = {}
    current = text
    for line in inspect.cleandoc(docstring).splitlines():
        if found := _SECTION.match(line):
            current = sections.setdefault(found[1], [])
            line = found[2]
        elif sections and line and not line.startswith(" ") and not _continues(current):
            current = text
        current.append(line)
    joined = {title: inspect.cleandoc("\n".join(lines)).strip() for title, lines in sections.items()}
    return re.sub(r"\n{3,}", "\n\n", "\n".join(text)).strip(), joined


def _continues(lines: list[str]) -> bool:
    """Whether an unindented line still belongs to a section that started on the line of its title."""
    return bool(lines) and bool(lines[0]) and bool(lines[-1])


def items(section: str) -> dict[str, str]:
    """Return the entries of an ``Args`` section by name, each as one line."""
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if item := _ITEM.match(line):
            name = item[1].lstrip("*")
            found[name] = item[2]
        elif name and line.strip():
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def as_yaml(value: Any) -> str:
    """Return a plain default as YAML would write it on one line."""
    if isinstance(value, str):
        return value or "''"
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
