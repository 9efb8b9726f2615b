"""The kinds of plugins as the command line calls them."""

from __future__ import annotations

import click

from ultra_core.plugins.kinds import KINDS


def split(name: str) -> tuple[tuple[str, ...], str]:
    """Split ``kind:name`` into the kinds to look in and the name; without a kind, all of them.

    ``block:retnet`` and ``blocks:retnet`` name a kind; in ``some-package:retnet`` it is a distribution.
    """
    kind, colon, rest = name.partition(":")
    for plural in (kind, f"{kind}s"):
        if colon and plural in KINDS:
            return (plural,), rest
    return tuple(KINDS), name


class Kind(click.ParamType):
    """A kind of plugin, singular or plural."""

    name = "kind"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the plural."""
        plural = value if value in KINDS else f"{value}s"
        if plural not in KINDS:
            self.fail(f"{value!r} is no kind of plugin; the kinds are {', '.join(KINDS)}", param, ctx)
        return plural
