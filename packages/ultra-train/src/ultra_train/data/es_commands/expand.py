"""Random sentences from templates, which the library ``hassil`` parses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

Lists = Mapping[str, Sequence[str]]
Span = tuple[str, int, int]
"""A slot, and where its value begins and ends in a text."""
_SPACES = re.compile(r"\s+")


class NoValuesError(LookupError):
    """Raised for a template that refers to an unknown rule or to an empty list."""


class Drawn(NamedTuple):
    """A sentence of a template.

    Attributes:
        text: the sentence.
        slots: (slot, value) of every list that it took a value from, sorted; a slot with another name than
            its list is ``slot:list``, since "up" and "down" fill the same one. A value may be a template.
        spans: (slot, first character, end) of what they are in the text, in its order; the outer one where
            a value has slots itself.
    """

    text: str
    slots: tuple[tuple[str, str], ...]
    spans: tuple[Span, ...] = ()


class _Choices:
    """The source of the random choices of one draw, and the values that it took from lists."""

    def __init__(self, random: Random, lists: Lists) -> None:
        self.random = random.random
        self.lists = lists
        self.slots: list[tuple[str, str]] = []
        self.length = 0  # of the text so far
        self.depth = 0  # of the values around the present one
        self.spans: list[Span] = []


_Draw = Callable[[_Choices], str]


class Expander:
    """Draws sentences from templates.

    Some templates stand for millions of sentences, so they cannot be expanded in full. A draw makes one
    random choice for every alternative, optional part and permutation of the parsed template.

    Args:
        rules: templates by the name that ``<name>`` refers to.
        lists: values by the name that ``{name}`` refers to; a value may be a template itself.
    """

    def __init__(self, rules: Mapping[str, str], lists: Lists) -> None:
        self._rules = rules
        self._lists = lists
        self._compiled: dict[str, _Draw] = {}

    def draw(self, template: str, random: Random, lists: Lists | None = None) -> Drawn | None:
        """Return a random sentence of a template, or None when it refers to a list without values.

        Args:
            template: the template.
            random: source of the random choices.
            lists: values for this draw only.
        """
        choices = _Choices(random, lists or {})
        try:
            text = self._template(template)(choices)
        except NoValuesError:
            return None
        spans = tuple(_without_spaces(text, choices.spans))
        return Drawn(_SPACES.sub(" ", text).strip(), tuple(sorted(choices.slots)), spans)

    def _template(self, template: str) -> _Draw:
        if template not in self._compiled:
            from hassil.parse_expression import parse_sentence

            self._compiled[template] = self._compile(parse_sentence(template).expression)
        return self._compiled[template]

    def _compile(self, part: Any) -> _Draw:
        from hassil import expression as grammar

        match part:
            case grammar.TextChunk():
                return _constant(str(part.original_text))
            case grammar.RuleReference():
                return self._rule(part.rule_name)
            case grammar.ListReference():
                return self._list(part.list_name, part.slot_name)
            case grammar.Alternative():
                return _one_of([self._compile(item) for item in part.items])
            case grammar.Permutation():
                return _all_of([self._compile(item) for item in part.items], shuffled=True)
            case _:
                return _all_of([self._compile(item) for item in part.items], shuffled=False)

    def _rule(self, name: str) -> _Draw:
        def draw(choices: _Choices) -> str:
            if name not in self._rules:
                raise NoValuesError(name)
            return self._template(self._rules[name])(choices)

        return draw

    def _list(self, name: str, slot: str) -> _Draw:
        def draw(choices: _Choices) -> str:
            values = choices.lists.get(name) or self._lists.get(name)
            if not values:
                raise NoValuesError(name)
            value = values[int(choices.random() * len(values))]
            choices.slots.append((slot if slot == name else f"{slot}:{name}", value))
            start = choices.length
            choices.depth += 1
            text = self._template(value)(choices)
            choices.depth -= 1
            if not choices.depth:
                choices.spans.append((slot, start, choices.length))
            return text

        return draw


def _without_spaces(text: str, spans: Sequence[Span]) -> Iterator[Span]:
    """Yield the spans of a text in the same text without needless blanks; empty ones are left out."""
    for slot, start, end in spans:
        value = _SPACES.sub(" ", text[start:end]).strip()
        if value:
            start += len(text[start:end]) - len(text[start:end].lstrip())
            first = len(_SPACES.sub(" ", text[:start]).lstrip())
            yield slot, first, first + len(value)


def _constant(text: str) -> _Draw:
    def draw(choices: _Choices) -> str:
        choices.length += len(text)
        return text

    return draw


def _one_of(parts: list[_Draw]) -> _Draw:
    count = len(parts)
    return lambda choices: parts[int(choices.random() * count)](choices)


def _all_of(parts: list[_Draw], *, shuffled: bool) -> _Draw:
    if len(parts) == 1:
        return parts[0]
    if not shuffled:
        return lambda choices: "".join([part(choices) for part in parts])

    def draw(choices: _Choices) -> str:
        return "".join([part(choices) for part in sorted(parts, key=lambda _: choices.random())])

    return draw
