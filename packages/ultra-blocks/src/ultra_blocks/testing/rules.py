"""A rule: a function that a plugin passes or fails, with the drawn examples it is tried on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import attrs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st


class RuleBroken(AssertionError):
    """A plugin breaks a rule; the message states the rule and how it was broken."""


@attrs.frozen(eq=False)
class Rule:
    """One rule of the kit; call it with a case.

    Attributes:
        id: short name, as in ``B1``.
        statement: what must hold, the first line of the function's docstring.
        check: the function, which raises AssertionError.
        draw: what hypothesis draws for the second argument; None: there is none.
        applies: whether the rule is about this case.
        slow: left out unless it is asked for by name.
        examples: draws under a hypothesis profile of 25; more under a larger one.
    """

    id: str
    statement: str
    check: Callable[..., None]
    draw: st.SearchStrategy[Any] | None
    applies: Callable[[Any], bool]
    slow: bool
    examples: int

    def __call__(self, case: Any) -> None:
        """Try the rule on a case.

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

        def examine(example: Any) -> None:
            self.check(case, example)

        limits = settings(
            max_examples=max(3, self.examples * settings().max_examples // 25),
            deadline=None,
            derandomize=True,
            database=None,
            report_multiple_bugs=False,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        limits(given(self.draw)(examine))()


class Rules(dict[str, Rule]):
    """Rules by id, in order; ``rules("B1", ...)`` decorates a function into one."""

    def __call__(
        self,
        name: str,
        *,
        draw: st.SearchStrategy[Any] | None = None,
        when: Callable[[Any], bool] = lambda _: True,
        slow: bool = False,
        examples: int = 8,
    ) -> Callable[[Callable[..., None]], Rule]:
        """Return the decorator; the docstring's first line becomes the statement."""

        def register(check: Callable[..., None]) -> Rule:
            statement = (inspect.getdoc(check) or name).splitlines()[0]
            self[name] = Rule(name, statement, check, draw, when, slow, examples)
            return self[name]

        return register

    def chosen(self, case: Any, names: Iterable[str] | None) -> list[Rule]:
        """Return the rules that apply to a case: those named, or all that are not slow."""
        wanted = (
            [rule for rule in self.values() if not rule.slow] if names is None else [self[n] for n in names]
        )
        return [rule for rule in wanted if rule.applies(case)]
