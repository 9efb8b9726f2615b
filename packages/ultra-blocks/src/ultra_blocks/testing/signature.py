"""The rule that every option acts, for plugins of each kind."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any

import attrs

from ultra_blocks.testing.cases import BlockCase, Case, FFNCase, PositionCase
from ultra_blocks.testing.construction import BLOCK_RULES, FFN_RULES, NORM_RULES, POSITION_RULES
from ultra_blocks.testing.idle_parameters import idle_parts
from ultra_blocks.testing.outcomes import LENGTH, Observer, Outcome, long_gradients, long_row
from ultra_blocks.testing.parameters import described
from ultra_core.errors import listed
from ultra_core.testing import Finding
from ultra_core.testing.variations import Variation, indistinct, variations

POSITIONS = ("nope", "rope", {"rope": {"base": 7.0}}, "alibi", "hope")
"""Position codes to try; a block refuses those that it cannot apply."""


MOST = 16
"""The largest value of a small integer option; a larger window may reach beyond the rows of the kit."""

CLAMPED = "use the value as it is given, or refuse it by ValueError; see also `variations`"


def options_act(case: Case) -> None:
    """Every option changes outputs, losses, gradients or initial weights, but for those of ``speed_only``.

    Each option is varied by itself, with the same weights where their shapes agree. A long row, packed rows
    with padding, decoding, gradients and a step of training are compared.

    Fix: pass the option on to where it acts. If it changes only speed or memory, name it in ``speed_only`` of
    the traits. If it acts only with other values or options, declare them in ``variations``.
    """
    observer, elsewhere = Observer(case), _other_direction(case)
    for option, group in groupby(_tried(case), key=lambda variation: variation.option):
        found = _found(observer, list(group))
        if found and elsewhere is not None:  # an option may be for one direction only
            others = [variation for variation in _tried(elsewhere) if variation.option == option]
            found = found if not others or _found(Observer(elsewhere), others) else None
        if found:
            raise found


def _tried(case: Case) -> list[Variation]:
    guesses: dict[str, tuple[Any, ...]] = {"positions": POSITIONS, "hidden_size": (2 * case.hidden_size,)}
    skip = {"place"}  # only some norms depend on it
    if isinstance(case, FFNCase):
        guesses["ffn_hidden_size"] = (4 * case.hidden_size,)
    if isinstance(case, PositionCase):
        skip |= {"hidden_size", "head_dim", "num_heads"}  # the scores need sizes that fit each other
    return variations(
        case.cls, case.arguments(), lambda options: case.build(**options), guesses=guesses, skip=skip
    )


def _found(observer: Observer, tried: list[Variation]) -> Finding | None:
    """Compare the values of one option, and return what is wrong."""
    first = tried[0]
    if first.refusal:
        fix = f"declare values to try in the class: `variations: ClassVar = {{{first.name!r}: {{...}}}}`"
        return Finding(f"{first.option} cannot be varied: {first.refusal}", fix=fix)
    try:
        return _compared(observer, tried)
    except Exception as error:
        values = " or ".join(map(str, tried))
        fix = "refuse, in the constructor and by ValueError, what `forward` cannot compute"
        return Finding(f"with {values}, a call raises {type(error).__name__}: {error}", fix=fix)


def _compared(observer: Observer, tried: list[Variation]) -> Finding | None:
    outcomes = [(variation, observer.outcome(variation.arguments)) for variation in tried]
    name = tried[0].name
    if name in observer.case.speed_only:
        for variation, outcome in outcomes:
            if change := outcome.difference(observer.outcome(variation.context)):
                return Finding(f"{name} is in speed_only, but {variation} changes {change}")
    elif twins := indistinct(outcomes, observer.outcome, lambda a, b: not a.difference(b)):
        return Finding(f"{twins} give the same outputs, gradients and initial weights")
    for variation, outcome in outcomes:
        base = observer.outcome(variation.context)
        if _is_small(variation) and not outcome.difference(base):
            values = f"{variation} and {name}={variation.base}"
            return Finding(f"{values} give the same outputs, gradients and initial weights", fix=CLAMPED)
        if idle := _idle(observer.case, outcome, base, variation):
            verb = "gets" if len(idle) == 1 else "get"
            return Finding(f"with {variation}, {listed(idle)} {verb} no gradient from {LENGTH} tokens")
    return None


def _other_direction(case: Case) -> Case | None:
    if isinstance(case, BlockCase) and case.traits.causal and case.traits.bidirectional:
        return attrs.evolve(case, causal=not case.causal)
    return None


def _is_small(variation: Variation) -> bool:
    """Whether a variation is from one small integer to another, which must make a difference."""
    value, base = variation.value, variation.base
    return type(value) is type(base) is int and 0 < min(value, base) < max(value, base) <= MOST


def _idle(case: Case, outcome: Outcome, base: Outcome, variation: Variation) -> list[str]:
    """Return the parameters that an option adds or enlarges in a block or an FFN, and no long row trains.

    One more of what is there already, as another expert, may have no tokens.
    """
    there = {_without_numbers(name) for name, _ in base.module.named_parameters()}
    shapes = {name: p.shape for name, p in base.module.named_parameters()}
    trained = {name: p for name, p in outcome.module.named_parameters() if p.requires_grad}
    changed = {name for name, p in trained.items() if shapes.get(name) != p.shape}
    added = {name for name in changed if name in shapes or _without_numbers(name) not in there}
    if not added or not isinstance(case, (BlockCase, FFNCase)):
        return []
    width = case.arguments(**variation.arguments).get("hidden_size", case.hidden_size)
    _, (_, *found) = long_gradients(outcome.module, long_row(case, width))
    infos, named = described(outcome.module), zip(outcome.module.named_parameters(), found, strict=True)
    return [part for (name, _), g in named if name in added for part in idle_parts(name, g, infos[name])]


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "", name)


for rules in (BLOCK_RULES, NORM_RULES, FFN_RULES, POSITION_RULES):
    rules("U2")(options_act)
