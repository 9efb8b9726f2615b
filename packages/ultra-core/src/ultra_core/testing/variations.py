"""Values to try for the options of a plugin, guessed from its constructor signature."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import attrs

from ultra_core.contracts import Range
from ultra_core.plugins.signatures import Option, is_plain, read_options
from ultra_core.plugins.types import TypeVisitor, range_of

T = TypeVar("T")

LEAST_BESIDE_ZERO = 1e-2
"""The least default that must act otherwise than zero; smaller ones only avoid a division by zero."""

Accepts = Callable[[Mapping[str, Any]], object]
"""Builds a plugin with the given arguments, and raises if it refuses them."""


@attrs.frozen
class Variation:
    """Arguments to try for one option.

    Attributes:
        name: the constructor's argument.
        option: what is varied: elements of a tuple are options of their own, as in ``betas[0]``, and so is a
            zero, which code like ``rate or 0.1`` takes for no value.
        arguments: the option and its context; what they leave out stays as it is.
        context: the other options, under which the option is compared with its base value.
        base: the value of the option that this one is compared with.
        choice: whether this value must differ from every other one; of numbers, one has to.
        refusal: why no value can be tried; empty if one can.
    """

    name: str
    option: str
    arguments: Mapping[str, Any] = attrs.field(factory=dict)
    context: Mapping[str, Any] = attrs.field(factory=dict)
    base: Any = None
    choice: bool = False
    refusal: str = ""

    @property
    def value(self) -> Any:
        """The value of the option."""
        return self.arguments[self.name]

    def __str__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())


def variations(
    cls: Any,
    options: Mapping[str, Any],
    accepts: Accepts = lambda arguments: None,
    *,
    guesses: Mapping[str, Sequence[Any]] | None = None,
    skip: Iterable[str] = (),
) -> list[Variation]:
    """Return values to try for each option of a plugin, each different from what ``options`` or defaults say.

    A choice (``Literal``, bool) is tried in all its values. A number is tried in one smaller and one larger
    value, well inside its range, and each element of a tuple by itself. ``variations`` of the class takes
    precedence: it maps an option to the arguments to try, or a list of several that must all differ. They
    may set other options as a context; without the option itself, they are a context for the guesses.

    Args:
        cls: the plugin.
        options: the arguments with which it is built otherwise.
        accepts: builds the plugin with ``options`` and the given arguments; refused guesses are dropped.
        guesses: values to try for options whose type does not say which are legal, by name.
        skip: names of options to leave out.
    """
    found: list[Variation] = []
    given = guesses or {}
    for name, option in read_options(cls).items():
        if name in frozenset(skip) or not (is_plain(option.type) or name in given):
            continue
        base = options.get(name, option.default)
        declared = getattr(cls, "variations", {}).get(name, {})
        contexts: Sequence[Mapping[str, Any]] = [declared] if isinstance(declared, Mapping) else declared
        for context in contexts:
            if name in context:
                if context[name] == base and len(contexts) > 1:
                    continue
                slots = [_Slot(name, ((context[name],),), choice=len(contexts) > 1)]
            elif name in given:
                others = tuple((guess,) for guess in given[name] if guess != base)
                slots = [_Slot(name, others, choice=True)]
            else:
                slots = _Slots(name, base).visit(_hint(option))
            for slot in slots:
                if slot.groups or option.settable:
                    found += slot.variations(name, base, _without(context, name), accepts)
    return found


def indistinct(
    tried: Sequence[tuple[Variation, T]], base: Callable[[Mapping[str, Any]], T], same: Callable[[T, T], bool]
) -> str:
    """Return which values of one option have the same outcome though they must not; empty if none.

    A default of None stands for one of the other values, which it may equal.

    Args:
        tried: variations of one option, with the outcome of each.
        base: returns the outcome under a context.
        same: whether two outcomes are the same.
    """
    first = tried[0][0]
    default = f"{first.name}={first.base!r}"
    standard = base(first.context)
    equal = [str(variation) for variation, outcome in tried if same(outcome, standard)]
    pairs = list(itertools.combinations(tried, 2))
    if first.choice:
        twins = [(str(a), str(b)) for (a, x), (b, y) in pairs if same(x, y)]
        if twins:
            return "{} and {}".format(*twins[0])
        return f"{equal[0]} and {default}" if equal and not (first.base is None and len(tried) > 1) else ""
    moved = len(equal) < len(tried) or any(not same(x, y) for (_, x), (_, y) in pairs)
    return "" if moved else f"{', '.join(dict.fromkeys(equal))} and {default}"


def _without(arguments: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if key != name}


def _hint(option: Option) -> Any:
    return option.type if option.range is None else Annotated[option.type, option.range]


@attrs.frozen
class _Slot:
    """Guesses for an option or an element of it; the first that is accepted is tried from each group."""

    option: str
    groups: tuple[tuple[Any, ...], ...]
    choice: bool = False

    def variations(
        self, name: str, base: Any, context: Mapping[str, Any], accepts: Accepts
    ) -> list[Variation]:
        found, refusal = [], ""
        for group in self.groups:
            for value in group:
                arguments = {**context, name: value}
                try:
                    accepts(arguments)
                except Exception as error:
                    refusal = f"{name}={value!r} raises {type(error).__name__}: {error}"
                    continue
                found.append(Variation(name, self.option, arguments, context, base, self.choice))
                break
        if self.choice and self.groups:
            return found  # to refuse a choice, which may not go with the other options, is to heed it
        reason = refusal or "no value can be guessed from its type"
        return found or [Variation(name, self.option, refusal=reason)]


class _Slots(TypeVisitor[list[_Slot]]):
    """The guesses for an option of a type, given its base value."""

    def __init__(self, option: str, base: Any, bounds: Range | None = None) -> None:
        self.option = option
        self.base = base
        self.bounds = bounds

    def annotated(self, hint: Any, base: Any, *extras: Any) -> list[_Slot]:
        return _Slots(self.option, self.base, range_of(extras) or self.bounds).visit(base)

    def scalar(self, hint: Any) -> list[_Slot]:
        if hint is bool:
            return self.literal(hint, False, True)
        if hint not in (int, float):
            return self.other(hint)
        numbers = _whole_numbers if hint is int else _numbers
        groups = tuple(tuple(filter(self._legal, group)) for group in numbers(self.base))
        slots = [_Slot(self.option, groups)]
        if self.bounds is not None and self.bounds.min == 0 and (self.base or 0) >= LEAST_BESIDE_ZERO:
            slots.append(_Slot(f"{self.option} = 0", ((hint(0),),), choice=True))
        return slots

    def _legal(self, value: float) -> bool:
        return value != self.base and (self.bounds is None or value in self.bounds)

    def literal(self, hint: Any, *choices: Any) -> list[_Slot]:
        others = tuple((c,) for c in choices if type(c) is not type(self.base) or c != self.base)
        return [_Slot(self.option, others, choice=True)] if others else []

    def union(self, hint: Any, *members: Any) -> list[_Slot]:
        slots = [self.visit(member) for member in members if member is not type(None)]
        return next((some for some in slots if any(slot.groups for slot in some)), slots[0])

    def fixed_tuple(self, hint: Any, *items: Any) -> list[_Slot]:
        whole, slots = tuple(self.base or ()), []
        if len(whole) != len(items):
            return self.other(hint)
        for i, item in enumerate(items):
            for slot in _Slots(f"{self.option}[{i}]", whole[i]).visit(item):
                groups = tuple(tuple((*whole[:i], v, *whole[i + 1 :]) for v in g) for g in slot.groups)
                slots.append(attrs.evolve(slot, groups=groups))
        return slots

    def sequence(self, hint: Any, item: Any) -> list[_Slot]:
        first, *rest = self.base or (None,)
        slots = _Slots(self.option, first).visit(item)
        lengthen = [tuple(tuple([v, *rest] for v in group) for group in slot.groups) for slot in slots]
        return [attrs.evolve(slot, groups=groups) for slot, groups in zip(slots, lengthen, strict=True)]

    def other(self, hint: Any, *parts: Any) -> list[_Slot]:
        return [_Slot(self.option, ())]


def _whole_numbers(base: int | None) -> tuple[tuple[int, ...], ...]:
    """Return guesses for a smaller and for a larger number."""
    if base is None:
        return (3, 2, 4, 6, 1, 8), (5, 8, 16, 32, 1, 64)
    smaller = [n for n in (3, 2, 1, base // 2, base - 1, 0) if n < base]
    return tuple(smaller), (2 * base, base + 1, base + 2, 4 * base)


def _numbers(base: float | None) -> tuple[tuple[float, ...], ...]:
    """Return two groups of guesses that are far from the base value and from each other."""
    near = () if not base else (base / 2, base * 2)
    return (0.5, 0.6, 2.0, *near), (0.25, 0.3, 1.5, 3.0, *near, -0.5)
