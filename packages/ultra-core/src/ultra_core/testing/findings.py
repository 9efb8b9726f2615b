"""What a check found wrong, in words that the author of a plugin can act on."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any


class Finding(AssertionError):
    """What a check saw, and what to do about it; ``assert condition, "what was seen"`` is its short form.

    Attributes:
        seen: tensor, position, numbers, both values, and the drawn sizes.
        fix: what to change; empty: what the docstring of the rule says after ``Fix:``.
    """

    def __init__(self, seen: str, *, fix: str = "") -> None:
        super().__init__(seen)
        self.seen = seen
        self.fix = fix


class RuleBroken(AssertionError):
    """A plugin breaks a rule; the message has the rule, what was seen, and what to do, one line each.

    Attributes:
        headline: the plugin, the id of the rule and its statement.
        seen: what was seen.
        fix: what to do; empty if neither the check nor the rule says.
    """

    def __init__(self, headline: str, seen: str, fix: str = "") -> None:
        self.headline = headline
        self.seen = seen
        self.fix = fix
        super().__init__("\n".join([headline, *self.details()]))

    def details(self) -> list[str]:
        """Return the lines that follow the headline."""
        return [f"seen: {self.seen}", *([f"fix:  {self.fix}"] if self.fix else [])]


def seen_in(error: Exception, example: Any = None) -> str:
    """Return what an exception says was seen, on one line; with the example that was drawn.

    An exception that no check raised is the plugin's own: its type and the line that raised it are added.
    """
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    lines = str(error).splitlines() or ["it does not hold"]
    if isinstance(error, AssertionError) and not isinstance(error, Finding):
        lines = lines[:1]  # pytest appends an explanation to plain assertions of test modules
    text = " ".join(" ".join(lines).split())
    if not isinstance(error, AssertionError):
        text = f"{type(error).__name__}: {text}{_origin(error)}"
    return text if example is None else f"{text}; drawn: {_described(example)}"


def _described(example: Any) -> str:
    return ", ".join(map(str, example)) if type(example) is tuple else str(example)


def _origin(error: Exception) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/torch/" not in frame.filename]
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
