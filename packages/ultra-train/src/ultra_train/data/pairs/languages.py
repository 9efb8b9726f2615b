"""Choosing the rows of a data set by their language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ultra_core.errors import listed
from ultra_train.data.errors import DataError
from ultra_train.data.pairs.kinds import plain

_NAMES = {
    "no": "norwegian norsk nb nob nor",
    "da": "danish dansk dan",
    "sv": "swedish svenska swe",
    "es": "spanish español spa",
    "en": "english eng",
}
_CODES = {name: code for code, names in _NAMES.items() for name in (code, *names.split())}
_COLUMNS = ("language", "lang", "languagecode", "locale")


def language_code(name: object) -> str:
    """Return the code of a language, such as ``no`` for Norwegian; another name in lower case."""
    text = str(name).strip().lower()
    return _CODES.get(text, text)


class LanguageFilter:
    """Accepts the rows whose column ``language`` or ``lang`` names one of some languages.

    Args:
        source: the data set, for error messages.
        languages: their names or codes.
    """

    def __init__(self, source: str, languages: Sequence[str]) -> None:
        self._source, self._wanted = source, {language_code(name): name for name in languages}
        self._found: dict[str, None] = {}
        self._accepted = False

    def accepts(self, where: str, row: Mapping[str, Any]) -> bool:
        """Return whether a row is in one of the languages.

        Raises:
            DataError: the row does not say its language.
        """
        column = next((name for name in row if plain(name) in _COLUMNS), None)
        if column is None:
            raise DataError(
                f"{where}: languages asks for {listed(list(self._wanted.values()))}, but there is no column "
                f"'language'; the columns are {listed(list(row)[:20])}."
            )
        code = language_code(row[column])
        self._found[code] = None
        accepted = code in self._wanted
        self._accepted |= accepted
        return accepted

    def finish(self) -> None:
        """Check that a row was accepted.

        Raises:
            DataError: there is none in any of the languages.
        """
        if not self._accepted:
            raise DataError(
                f"{self._source}: no row is in {listed(list(self._wanted.values()))}; there are "
                f"{listed(list(self._found)[:20])}."
            )
