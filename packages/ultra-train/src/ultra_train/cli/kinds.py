"""The kinds of plugins as the command line calls them."""

from __future__ import annotations

import click

import ultra_core
from ultra_core.registry import Registry

KINDS = ("blocks", "norms", "ffns", "positions", "optimizers", "schedules", "models", "tasks", "presets")


def registry(kind: str) -> Registry:
    """Return the registry of a kind."""
    found = getattr(ultra_core, kind)
    assert isinstance(found, Registry)
    return found


def split(name: str) -> tuple[tuple[str, ...], str]:
    """Split ``kind:name`` into the kinds to look in and the name; without a kind, all of them.

    ``block:retnet`` and ``blocks:retnet`` name a kind; in ``some-package:retnet`` it is a distribution.
    """
    kind, colon, rest = name.partition(":")
    if colon and (kind in KINDS or f"{kind}s" in KINDS):
        return (kind if kind in KINDS else f"{kind}s",), rest
    return KINDS, name


class Kind(click.ParamType):
    """A kind of plugin, singular or plural."""

    name = "kind"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the plural."""
        plural = value if value in KINDS else f"{value}s"
        if plural not in KINDS:
            self.fail(f"{value!r} is no kind of plugin; the kinds are {', '.join(KINDS)}", param, ctx)
        return plural
