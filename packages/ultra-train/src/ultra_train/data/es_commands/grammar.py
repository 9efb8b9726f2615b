"""A small grammar that rejects ungrammatical commands.

Templates for recognition accept more than people write: "[el|la|los|las] {name}" also matches "el puerta". So
every expanded sentence is checked word by word against a small grammar of its language, and discarded when it
violates it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

_WORD = re.compile(r"\w+|[%°]")


class Grammar:
    """Checks the agreement of articles, nouns, numerals and predicates, and rejects listed patterns.

    Args:
        spec: the part ``grammar`` of a language file. ``determiners``, ``nouns`` and ``predicates`` list
            words by class; a class is gender and number (``fs``, ``mp``), or a part of them (``s``), or
            ``any``. ``before_determiner`` are words that need a determiner after them, ``before_noun`` may
            stand between it and the noun, ``bare`` are nouns, or a word with a noun, that need none;
            ``reject`` are regular expressions that no sentence may match. Every part may be missing.
        nouns: the phrases that fill the slots, by class; each begins with a noun of its class.
        rooms: rooms and floors; a sentence may name one of them at most.
    """

    def __init__(
        self, spec: Mapping[str, Any], nouns: Mapping[str, Sequence[str]], rooms: Iterable[str]
    ) -> None:
        self._determiners = _by_word(spec.get("determiners", {}))
        self._before_noun = set(spec.get("before_noun", []))
        self._nouns = _by_word(spec.get("nouns", {}))
        self._proper = {phrase.split()[0] for phrase in nouns.get("proper", [])}
        for kind, phrases in nouns.items():
            if kind not in ("bare", "proper"):
                self._nouns.update({self._head(phrase): kind for phrase in phrases})
        for phrase in chain.from_iterable(nouns.values()):
            for determiner, noun in pairwise(phrase.split()):
                if len(kind := self._determiners.get(determiner, "")) == 2:
                    self._nouns.setdefault(noun, kind)
        self._predicates = _by_word(spec.get("predicates", {}))
        self._verbs = _by_word(spec.get("verbs", {}))
        self._before_determiner = _by_word(spec.get("before_determiner", {}))
        self._bare = set(spec.get("bare", []))
        self._ones = set(spec.get("numerals", {}).get("s", []))
        self._counted = set(spec.get("counted", []))
        self._rooms = {self._head(phrase) for phrase in rooms}
        self._reject = [re.compile(pattern) for pattern in spec.get("reject", [])]

    def accepts(self, sentence: str) -> bool:
        """Return whether a sentence is grammatical."""
        words = _WORD.findall(sentence)
        if sum(word in self._rooms for word in words) > 1:
            return False
        if any(first == second for first, second in pairwise(words)):
            return False
        if not (self._phrases_agree(words) and self._predicates_agree(words)):
            return False
        return not any(pattern.search(sentence) for pattern in self._reject)

    def _phrases_agree(self, words: list[str]) -> bool:
        if not self._determiners:
            return True
        nouns = [word for word in words if word in self._nouns and word not in self._counted]
        if len(set(nouns)) < len(nouns):
            return False
        return all(self._fits(words, place) for place in range(len(words)))

    def _fits(self, words: list[str], place: int) -> bool:
        """Return whether the words around a determiner or noun allow it at this place."""
        word, following = words[place], self._noun_after(words, place)
        if word in self._before_determiner and following in self._determiners:
            return _agree(self._before_determiner[word], self._determiners[following])
        if word in self._determiners:
            kind = self._determiners[word]
            if following in self._nouns:
                return _agree(kind, self._nouns[following])
            return following.isdecimal() or (kind == "any" and following not in self._determiners)
        if word in self._before_determiner:
            return False
        if word in self._nouns:
            return self._noun_may_stand(words, place)
        return not (word in self._proper and place and words[place - 1] in self._determiners)

    def _noun_may_stand(self, words: list[str], place: int) -> bool:
        word = words[place]
        before = place - 1
        while before >= 0 and words[before] in self._before_noun:
            before -= 1
        previous = words[before] if before >= 0 else ""
        after = words[place + 1] if place + 1 < len(words) else ""
        if after in self._determiners and after not in ("del", "al"):
            return False  # a second noun phrase needs a preposition
        if word in self._counted and (previous.isdecimal() or previous in self._ones):
            return (previous in self._ones) == self._nouns[word].endswith("s")
        return previous in self._determiners or word in self._bare or f"{previous} {word}" in self._bare

    def _predicates_agree(self, words: list[str]) -> bool:
        subject = next((self._nouns[word] for word in words if word in self._nouns), None)
        if subject is None:
            return True
        for word in words:
            for kinds in (self._predicates, self._verbs):
                if word in kinds and not _agree(kinds[word], subject):
                    return False
        return True

    def _noun_after(self, words: list[str], place: int) -> str:
        place += 1
        while place < len(words) and words[place] in self._before_noun:
            place += 1
        return words[place] if place < len(words) else ""

    def _head(self, phrase: str) -> str:
        words = phrase.split()
        return next((word for word in words if word not in self._before_noun), words[0])


def _by_word(by_class: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {str(word): kind for kind, words in by_class.items() for word in words}


def _agree(first: str, second: str) -> bool:
    """Return whether two classes agree in gender and number: "s" agrees with "fs", but "ms" does not."""
    if "any" in (first, second):
        return True
    number_clash = {first[-1], second[-1]} == {"s", "p"}
    gender_clash = len(first) == len(second) == 2 and first[0] != second[0]
    return not (number_clash or gender_clash)
