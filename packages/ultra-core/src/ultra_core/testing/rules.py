"""Rules of a conformance kit: the statement of each, the cases that it applies to, and its check."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import attrs

from ultra_core.errors import UltraError, did_you_mean, listed

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

PROFILE_EXAMPLES = 25
"""Examples of the hypothesis profile to which ``Rule.examples`` refers."""

FEWEST_EXAMPLES = 3


class RuleBroken(AssertionError):
    """A plugin breaks a rule; the message states the rule and how it was broken."""


def _always(case: Any) -> bool:
    return True


@attrs.frozen(eq=False)
class Rule:
    """One rule of a kit; call it with a case.

    Attributes:
        id: short name, as in ``B1``; published ids never change their meaning.
        check: the function, which raises AssertionError; its docstring states and explains the rule.
        applies: whether the rule is about a case.
        draw: what hypothesis draws for the second argument of the check; None when there is none.
        slow: left out unless it is asked for by name.
        examples: number of draws under a hypothesis profile of 25 examples; other profiles scale it.
    """

    id: str
    check: Callable[..., None]
    applies: Callable[[Any], bool] = _always
    draw: SearchStrategy[Any] | None = None
    slow: bool = False
    examples: int = 8

    @property
    def statement(self) -> str:
        """What must hold: the first paragraph of the docstring of the check, on one line."""
        return " ".join((inspect.getdoc(self.check) or self.id).partition("\n\n")[0].split())

    @property
    def explanation(self) -> str:
        """Why it must hold and how it is checked: the rest of the docstring; empty when there is none."""
        return (inspect.getdoc(self.check) or "").partition("\n\n")[2].strip()

    def __call__(self, case: Any) -> None:
        """Check the rule on a case.

        Raises:
            RuleBroken: the case breaks it.
        """
        try:
            self._try(case)
        except AssertionError as error:
            raise RuleBroken(f"{case} breaks rule {self.id}: {self.statement} Found: {error}") from error
        except Exception as error:
            error.add_note(f"while {case} was tried on rule {self.id}: {self.statement}")
            raise

    def _try(self, case: Any) -> None:
        if self.draw is None:
            self.check(case)
            return
        from hypothesis import HealthCheck, Phase, given, settings

        def examine(example: Any) -> None:
            self.check(case, example)

        scaled = self.examples * settings().max_examples // PROFILE_EXAMPLES
        limits = settings(
            max_examples=max(FEWEST_EXAMPLES, scaled),
            deadline=None,
            derandomize=True,
            database=None,
            report_multiple_bugs=False,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        limits(given(self.draw)(examine))()


class Rules(dict[str, Rule]):
    """A table of rules by id, in order; ``@rules("B1", ...)`` adds the function that it decorates."""

    def __call__(
        self,
        id: str,
        *,
        draw: SearchStrategy[Any] | None = None,
        when: Callable[[Any], bool] = _always,
        slow: bool = False,
        examples: int = 8,
    ) -> Callable[[Callable[..., None]], Rule]:
        """Return the decorator; the arguments are those of ``Rule``."""

        def enter(check: Callable[..., None]) -> Rule:
            self[id] = Rule(id, check, when, draw, slow, examples)
            return self[id]

        return enter

    def named(self, id: str) -> Rule:
        """Return a rule.

        Raises:
            UltraError: there is no such rule.
        """
        if id not in self:
            raise UltraError(f"unknown rule {id!r}.{did_you_mean(id, self)} Rules: {listed(list(self))}")
        return self[id]

    def chosen(self, case: Any, ids: Iterable[str] | None = None) -> list[Rule]:
        """Return the rules that apply to a case, among the given ids or all that are not slow.

        Raises:
            UltraError: a rule that does not exist is named.
        """
        wanted = [rule for rule in self.values() if not rule.slow] if ids is None else map(self.named, ids)
        return [rule for rule in wanted if rule.applies(case)]
