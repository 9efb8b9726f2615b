"""Rules of a conformance kit: the statement of each, the cases that it applies to, and its check."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import attrs

from ultra_core.errors import UltraError, did_you_mean, listed
from ultra_core.testing.efforts import Effort, current_effort, includes, scaled
from ultra_core.testing.findings import Finding, RuleBroken, seen_in

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def _always(case: Any) -> bool:
    return True


def _no_reason(case: Any) -> str:
    return ""


@attrs.frozen(eq=False)
class Rule:
    """One rule of a kit; call it with a case.

    The docstring of the check states the rule in its first paragraph. A paragraph that starts with ``Fix:``
    says what the author of a plugin that breaks it should do; all others explain the rule.

    Attributes:
        id: short name, as in ``B1``; published ids never change their meaning.
        check: the function, which raises AssertionError (or :class:`Finding`).
        applies: whether the rule is about a case.
        draw: what hypothesis draws for the second argument of the check; None when there is none. A case with
            a method ``fit`` replaces each example by one that its plugin accepts.
        least: the least effort that tries the rule.
        examples: number of draws at the default effort.
        after: ids of rules without which this one means nothing; it is left out where one of them is broken.
        gate: nothing else is tried once this rule is broken.
        unless: why the rule cannot be tried on a case, as in "it has no reference"; empty if it can.
            What follows a semicolon, advice for the author, is left out of counts.
    """

    id: str
    check: Callable[..., None]
    applies: Callable[[Any], bool] = _always
    draw: SearchStrategy[Any] | None = None
    least: Effort = "default"
    examples: int = 5
    after: tuple[str, ...] = ()
    gate: bool = False
    unless: Callable[[Any], str] = _no_reason

    @property
    def statement(self) -> str:
        """What must hold: the first paragraph of the docstring of the check, on one line."""
        return self._paragraphs()[0]

    @property
    def explanation(self) -> str:
        """Why it must hold and how it is checked; empty when the docstring does not say."""
        return "\n\n".join(text for text in self._paragraphs()[1:] if not text.startswith("Fix:"))

    @property
    def fix(self) -> str:
        """What to do when it is broken; empty when the docstring does not say."""
        fixes = (text for text in self._paragraphs() if text.startswith("Fix:"))
        return next(fixes, "").removeprefix("Fix:").strip()

    def _paragraphs(self) -> list[str]:
        text = inspect.getdoc(self.check) or self.id
        return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]

    def __call__(self, case: Any, effort: Effort | None = None) -> None:
        """Check the rule on a case.

        Args:
            case: the plugin under test.
            effort: how many examples are drawn; None: what the environment says.

        Raises:
            RuleBroken: the case breaks it, or raises an exception of its own.
        """
        drawn: list[Any] = []
        try:
            self._try(case, drawn, effort or current_effort())
        except Exception as error:
            example = drawn[-1] if drawn else None
            fix = error.fix if isinstance(error, Finding) and error.fix else self.fix
            headline = f"{case} breaks rule {self.id}: {self.statement}"
            raise RuleBroken(headline, seen_in(error, example), fix) from error

    def _try(self, case: Any, drawn: list[Any], effort: Effort) -> None:
        if self.draw is None:
            self.check(case)
            return
        from hypothesis import HealthCheck, Phase, given, settings

        fit = getattr(case, "fit", None)  # makes an example one that the plugin accepts

        def examine(example: Any) -> None:
            example = fit(example) if fit is not None else example
            drawn.append(example)
            self.check(case, example)

        limits = settings(
            max_examples=scaled(self.examples, effort),
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
        self, id: str, *, when: Callable[[Any], bool] = _always, **options: Any
    ) -> Callable[[Callable[..., None]], Rule]:
        """Return the decorator; ``when`` is ``Rule.applies``, other options are named as in ``Rule``."""

        def enter(check: Callable[..., None]) -> Rule:
            if id in self:
                raise ValueError(f"there is a rule {id} already; published ids never change their meaning")
            self[id] = Rule(id, check, when, **options)
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

    def chosen(self, case: Any, ids: Iterable[str] | None = None, effort: Effort | None = None) -> list[Rule]:
        """Return the rules that apply to a case, among the given ids or all that the effort includes.

        A rule comes behind those that it names in ``after``.

        Raises:
            UltraError: a rule that does not exist is named.
        """
        level = effort or current_effort()
        every = (rule for rule in self.values() if includes(level, rule.least))
        wanted = every if ids is None else map(self.named, ids)
        return self._in_order([rule for rule in wanted if rule.applies(case)])

    def _in_order(self, rules: list[Rule]) -> list[Rule]:
        """Return rules in the order of the table, but each behind those that it comes after."""
        chosen = {rule.id: rule for rule in rules}
        ordered: dict[str, Rule] = {}

        def append(rule: Rule) -> None:
            for id in rule.after:
                if id in chosen and id not in ordered:
                    append(chosen[id])
            ordered.setdefault(rule.id, rule)

        for rule in rules:
            append(rule)
        return list(ordered.values())
