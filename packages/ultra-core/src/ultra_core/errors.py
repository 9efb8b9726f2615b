"""The errors of ultra: each says what is wrong, where, what was given, what is allowed, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class UltraError(Exception):
    """Base of every error that a user can cause and mend; the command line prints it without a traceback."""


class PluginError(UltraError):
    """A plugin that is broken, misdeclared, or asked for what it does not declare."""


class UnknownNameError(PluginError):
    """A name that no installed distribution offers."""


class NameClashError(PluginError):
    """A name that two distributions offer."""


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` when something allowed is close to what was given, else ``""``."""
    close = get_close_matches(given, list(allowed), n=2, cutoff=0.6)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""


def listed(names: Sequence[str]) -> str:
    """Return the names as a readable list, or ``"none"``."""
    return ", ".join(names) if names else "none"
