"""Snippets: the part of a document that has most of the words of the query."""

from __future__ import annotations

import re

LENGTH = 200
"""Characters of a snippet, roughly."""

_WORD = re.compile(r"\w+")
_SPACE = re.compile(r"\s+")


def snippet(text: str, query: str, length: int = LENGTH) -> str:
    """Return the part of a text that has the most different words of a query, on one line.

    Args:
        text: the text of a document.
        query: the query.
        length: characters of the part; it begins and ends at words.
    """
    text = _SPACE.sub(" ", text).strip()
    if len(text) <= length:
        return text
    begin = _best_start(text, set(_WORD.findall(query.lower())), length)
    end = begin + length
    if end >= len(text):
        end = len(text)
    elif (blank := text.rfind(" ", begin, end + 1)) > begin:
        end = blank
    return f"{'… ' if begin else ''}{text[begin:end].strip()}{' …' if end < len(text) else ''}"


def _best_start(text: str, words: set[str], length: int) -> int:
    """Return where the part begins: at the word before the first of its words of the query."""
    starts = [(match.start(), match.group().lower()) for match in _WORD.finditer(text)]
    hits = [(number, start, word) for number, (start, word) in enumerate(starts) if word in words]
    best, most = 0, 0
    for first, (number, begin, _) in enumerate(hits):
        inside = {word for _, start, word in hits[first:] if start + len(word) <= begin + length}
        if len(inside) > most:
            best, most = starts[max(number - 1, 0)][0], len(inside)
    return best
