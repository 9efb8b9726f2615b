"""The errors of ultra. Messages say what is wrong, where, what was given, what is allowed, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

LISTED = 50
"""Maximum number of faults that a message lists; it counts the others."""

_LONGEST_LINE = 1500
"""Maximum number of characters of one fault; a list of thousands of values would fill the screen."""

_ENORMOUS = re.compile(r"\S{500,}")

LONGEST = 100
"""Maximum number of characters of a name that are compared: the time grows with their square."""

KeyPath = tuple[str | int, ...]
"""The keys and indices that lead to a value in a preset: ``("model", "layer_pattern", 0)``."""


class UltraError(Exception):
    """Base of all errors that a user can cause and fix; the command line prints them without a traceback."""


class PluginError(UltraError):
    """A plugin is broken, declares something invalid, or is asked for something that it does not declare."""


class UnknownNameError(PluginError):
    """No installed distribution offers a name."""


class NameClashError(PluginError):
    """Two distributions offer the same name."""


@dataclass(frozen=True)
class Fault:
    """One error in a preset.

    Attributes:
        file: the file name as the user wrote it, or ``--set KEY`` for an override.
        line: first line of the value or key, counted from 1.
        column: its column, counted from 1.
        path: the keys and indices that lead to it.
        message: what was expected, what was found, which names are similar.
    """

    file: str
    line: int
    column: int
    path: KeyPath
    message: str

    @property
    def key(self) -> str:
        """The path in dotted form, ``model.layer_pattern[0]``; empty at the top of the file."""
        return key_of(self.path)

    def __str__(self) -> str:
        where = self.file if self.file.startswith("--set ") else f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.key}: {self.message}" if self.path else f"{where}: {self.message}"


class ConfigError(UltraError):
    """A preset has faults; all of them are listed once, in the order of the file."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        overridden = str.startswith
        self.faults: tuple[Fault, ...] = tuple(
            sorted(dict.fromkeys(faults), key=lambda f: (overridden(f.file, "--set "), f.line, f.column))
        )
        super().__init__("\n".join(shortened(self.faults)))


def shortened(items: Sequence[object]) -> list[str]:
    """Return the first ``LISTED`` items as strings, and ``"and 89,950 more"`` when there are others.

    Words of hundreds of characters, such as enormous names, and strings of thousands are truncated.
    """
    left = len(items) - LISTED
    texts = [_cut(text) for text in map(str, items[:LISTED])]
    return [*texts, *([f"and {left:,} more"] if left > 0 else [])]


def _cut(text: str) -> str:
    text = _ENORMOUS.sub(lambda word: f"{word[0][:200]}...{word[0][-50:]}", text)
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 500]} ... {text[-400:]}"


def key_of(path: KeyPath) -> str:
    """Return a path in dotted form: ``("model", "layer_pattern", 0)`` is ``model.layer_pattern[0]``."""
    word = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return word.removeprefix(".")


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` when an allowed name is similar to the given one, else ``""``."""
    close = closest(given, tuple(allowed))
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""


@lru_cache(maxsize=1024)
def closest(given: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Return at most two of the allowed names that are similar to the given one, ignoring case."""
    names = {name.lower(): name for name in allowed}
    if given.lower() in names:
        return (names[given.lower()],)
    return tuple(names[name] for name in get_close_matches(given[:LONGEST].lower(), names, n=2, cutoff=0.6))


def listed(names: Sequence[str]) -> str:
    """Return the names separated by commas, or ``"none"``."""
    return ", ".join(names) if names else "none"
