"""The names of the embedded data sets: ``ultra:<language>-commands``."""

from __future__ import annotations

from ultra_core.errors import did_you_mean, listed
from ultra_train.data import es_commands
from ultra_train.data.errors import DataError

PREFIX = "ultra:"


def is_embedded(source: str) -> bool:
    """Return whether a name stands for an embedded data set."""
    return source.startswith(PREFIX)


def language_of(source: str) -> str:
    """Return the language of an embedded data set.

    Raises:
        DataError: there is none of this name.
    """
    known = {f"{PREFIX}{language}-commands": language for language in es_commands.LANGUAGES}
    if source not in known:
        raise DataError(
            f"There is no embedded data set {source!r}; there are {listed(list(known))}."
            f"{did_you_mean(source, known)}"
        )
    return known[source]
