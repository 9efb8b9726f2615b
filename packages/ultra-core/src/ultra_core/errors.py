"""The errors of ultra: each says what is wrong, where, what was given, what is allowed, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

LISTED = 50
"""Most faults that a message lists; it counts the rest."""

_LONGEST_LINE = 1500
"""Characters of one fault that are shown; a list of thousands of values would fill the screen."""

_ENORMOUS = re.compile(r"\S{500,}")

LONGEST = 100
"""Characters of a name that are compared with others: the time grows with their square."""

Path = tuple[str | int, ...]
"""Where a value stands in a preset: ``("model", "layer_pattern", 0)``."""


class UltraError(Exception):
    """Base of every error that a user can cause and mend; the command line prints it without a traceback."""


class PluginError(UltraError):
    """A plugin that is broken, misdeclared, or asked for what it does not declare."""


class UnknownNameError(PluginError):
    """A name that no installed distribution offers."""


class NameClashError(PluginError):
    """A name that two distributions offer."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a preset.

    Attributes:
        file: the file as the user named it, or ``--set KEY`` for an override.
        line: first line of the value or key, counted from 1.
        column: its column, counted from 1.
        path: the keys that lead to it.
        message: what was expected, what was found, what is close.
    """

    file: str
    line: int
    column: int
    path: Path
    message: str

    @property
    def key(self) -> str:
        """The path as one word, ``model.layer_pattern[0]``; empty at the top of the file."""
        return key_of(self.path)

    def __str__(self) -> str:
        where = self.file if self.file.startswith("--set ") else f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.key}: {self.message}" if self.path else f"{where}: {self.message}"


class ConfigError(UltraError):
    """A preset with faults: all of them, in the order of the file, each once."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        overridden = str.startswith
        self.faults: tuple[Fault, ...] = tuple(
            sorted(dict.fromkeys(faults), key=lambda f: (overridden(f.file, "--set "), f.line, f.column))
        )
        super().__init__("\n".join(shortened(self.faults)))


def shortened(items: Sequence[object]) -> list[str]:
    """Return the first ``LISTED`` items as texts, and ``"and 89,950 more"`` when there are others.

    Words of hundreds of characters, such as enormous names, and texts of thousands are cut.
    """
    left = len(items) - LISTED
    texts = [_cut(text) for text in map(str, items[:LISTED])]
    return [*texts, *([f"and {left:,} more"] if left > 0 else [])]


def _cut(text: str) -> str:
    text = _ENORMOUS.sub(lambda word: f"{word[0][:200]}...{word[0][-50:]}", text)
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 500]} ... {text[-400:]}"


def key_of(path: Path) -> str:
    """Return a path as one word: ``("model", "layer_pattern", 0)`` is ``model.layer_pattern[0]``."""
    word = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return word.removeprefix(".")


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` when something allowed is close to what was given, else ``""``."""
    close = closest(given, tuple(allowed))
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""


@lru_cache(maxsize=1024)
def closest(given: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Return at most two of the allowed names that are close to what was given, whatever their case."""
    names = {name.lower(): name for name in allowed}
    if given.lower() in names:
        return (names[given.lower()],)
    return tuple(names[name] for name in get_close_matches(given[:LONGEST].lower(), names, n=2, cutoff=0.6))


def listed(names: Sequence[str]) -> str:
    """Return the names as a readable list, or ``"none"``."""
    return ", ".join(names) if names else "none"
