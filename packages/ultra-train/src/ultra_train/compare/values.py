"""Lists of values on the command line, with the column of each for messages."""

from __future__ import annotations

import math

import attrs

from ultra_core.errors import UltraError

_CLOSING = {"[": "]", "{": "}", '"': '"', "'": "'"}

MOST_SEEDS = 100
"""A single number above this is meant as a seed rather than as their number."""


class ValueListError(UltraError):
    """A list on the command line is empty, or one of its values is not what it should be."""


@attrs.frozen
class Value:
    """One value of a list.

    Attributes:
        text: the value as written.
        column: its column in the argument, counted from 1.
    """

    text: str
    column: int


@attrs.frozen
class Axis:
    """A key that is varied, ``--vary KEY=VALUE,VALUE``.

    Attributes:
        key: the dotted key.
        values: its values as YAML.
    """

    key: str
    values: tuple[Value, ...]

    @classmethod
    def parse(cls, argument: str) -> Axis:
        """Read ``training.optimizer.optimizer_class=adamw,lion``.

        Commas within brackets, braces and quotes separate nothing: ``model.layer_pattern=[gla],[gla, ode]``.

        Raises:
            ValueListError: no key, no values, an empty one, or one that is there twice.
        """
        key, equals, text = argument.partition("=")
        if not equals or not key.strip():
            raise ValueListError(
                f"--vary: expected KEY=VALUE,VALUE such as training.batch_size=8,16, found {argument!r}"
            )
        return cls(key.strip(), split(f"--vary {key.strip()}", text, offset=len(key) + 1))


def split(option: str, text: str, offset: int = 0) -> tuple[Value, ...]:
    """Return the values between the commas of a text.

    Args:
        option: the option that the text belongs to, for messages.
        text: the list.
        offset: number of characters of the argument before the text.

    Raises:
        ValueListError: an empty value, a bracket or quote that is not closed, or a value that is there twice.
    """
    found: dict[str, Value] = {}
    for start, part in _parts(option, text, offset):
        value = Value(part.strip(), offset + start + len(part) - len(part.lstrip()) + 1)
        if not value.text:
            raise ValueListError(
                f"{option}, column {value.column}: expected a value, found "
                f"{'an empty list' if not text.strip() else 'nothing between two commas or at the end'}"
            )
        if value.text in found:
            first = found[value.text].column
            raise ValueListError(
                f"{option}, column {value.column}: {value.text} is there twice, first in column {first}"
            )
        found[value.text] = value
    return tuple(found.values())


def _parts(option: str, text: str, offset: int) -> list[tuple[int, str]]:
    """Return the parts between top-level commas, each with its start."""
    found, start, open_at = [], 0, list[tuple[str, int]]()
    for place, character in enumerate(text):
        if open_at and character == _CLOSING[open_at[-1][0]]:
            open_at.pop()
        elif open_at and open_at[-1][0] in "'\"":
            continue
        elif character in _CLOSING:
            open_at.append((character, place))
        elif character == "," and not open_at:
            found.append((start, text[start:place]))
            start = place + 1
    if open_at:
        bracket, place = open_at[-1]
        raise ValueListError(f"{option}, column {offset + place + 1}: {bracket} is not closed")
    return [*found, (start, text[start:])]


def positive_numbers(option: str, text: str) -> tuple[float, ...]:
    """Return a list of positive, finite numbers in ascending order.

    Raises:
        ValueListError: says which value is none.
    """
    numbers: dict[float, Value] = {}
    for value in split(option, text):
        number = _number(value.text)
        if number is None or not (math.isfinite(number) and number > 0):
            raise ValueListError(
                f"{option}, column {value.column}: expected a number above 0, found {value.text!r}"
            )
        if number in numbers:
            raise ValueListError(f"{option}, column {value.column}: {value.text} is there twice")
        numbers[number] = value
    return tuple(sorted(numbers))


def seeds(text: str) -> tuple[int, ...]:
    """Return the seeds that ``--seeds`` names: ``3`` means 1, 2, 3; a list names them.

    Raises:
        ValueListError: a seed is no natural number, or there are none.
    """
    values = split("--seeds", text)
    for value in values:
        if not (value.text.isascii() and value.text.isdecimal()):
            raise ValueListError(
                f"--seeds, column {value.column}: expected a number of seeds such as 3, or seeds such as "
                f"1,2,3, found {value.text!r}"
            )
    numbers = [int(value.text) for value in values]
    if len(numbers) > 1:
        if len(set(numbers)) < len(numbers):
            raise ValueListError(f"--seeds: {text} names a seed twice")
        return tuple(numbers)
    if not 1 <= numbers[0] <= MOST_SEEDS:
        raise ValueListError(
            f"--seeds: expected 1 to {MOST_SEEDS} seeds, found {numbers[0]}; two or more single seeds are "
            "written as a list"
        )
    return tuple(range(1, numbers[0] + 1))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
