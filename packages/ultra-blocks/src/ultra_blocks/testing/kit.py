"""The cases and rules of the kit, and functions that run them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ultra_core
from ultra_blocks.norms.base import PLACES
from ultra_blocks.testing import (  # noqa: F401 - they add rules
    auxiliary,
    dropout,
    exactness,
    ffns,
    formulas,
    idle_parameters,
    independence,
    inputs,
    limits,
    logits,
    long_batches,
    long_positions,
    long_rows,
    low_precision,
    memory,
    norms,
    numerics,
    parameter_use,
    parameters,
    positions,
    properties,
    registration,
    signature,
    speed,
    surroundings,
    traits,
    windows,
)
from ultra_blocks.testing.cases import BlockCase, Case, FFNCase, NormCase, PositionCase
from ultra_blocks.testing.construction import BLOCK_RULES, FFN_RULES, NORM_RULES, POSITION_RULES
from ultra_blocks.testing.widths import fitting
from ultra_core.testing import Effort, Rules, Trial
from ultra_core.testing import pytest_params as params_of

RULES = BLOCK_RULES
"""The rules of blocks by id, in order; a rule is called with a :class:`BlockCase`."""


def block_cases(
    names: Iterable[Any] | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    hidden_size: int | None = None,
) -> Iterator[BlockCase]:
    """Yield blocks, by registered name or as classes, once for each direction that they declare.

    Args:
        names: registered names or classes; None: every registered block.
        options: keyword arguments of the constructors.
        hidden_size: width of the blocks; None: the smallest of 16, 32, 64 and 128 that they accept.
    """
    for name, cls in _plugins(ultra_core.blocks, names):
        for causal in (False, True):
            case = BlockCase(name=name, cls=cls, options=options or {}, causal=causal)
            if case.traits.causal if causal else case.traits.bidirectional:
                yield fitting(case, hidden_size)


def norm_cases(names: Iterable[Any] | None = None) -> Iterator[NormCase]:
    """Yield norms, by registered name or as classes, once for each place."""
    for name, cls in _plugins(ultra_core.norms, names):
        yield from (fitting(NormCase(name=name, cls=cls, place=place)) for place in PLACES)


def ffn_cases(names: Iterable[Any] | None = None) -> Iterator[FFNCase]:
    """Yield FFNs, by registered name or as classes."""
    for name, cls in _plugins(ultra_core.ffns, names):
        yield fitting(FFNCase(name=name, cls=cls))


def position_cases(names: Iterable[Any] | None = None) -> Iterator[PositionCase]:
    """Yield position codes, by registered name or as classes."""
    for name, cls in _plugins(ultra_core.positions, names):
        yield fitting(PositionCase(name=name, cls=cls))


def _plugins(registry: Any, names: Iterable[Any] | None) -> Iterator[tuple[str, Any]]:
    for name in registry.names() if names is None else names:
        yield (
            (name, registry.get(name))
            if isinstance(name, str)
            else (getattr(name, "__name__", repr(name)), name)
        )


def rules_of(case: Case) -> Rules:
    """Return the rules for plugins of this case's kind."""
    rules = {BlockCase: BLOCK_RULES, NormCase: NORM_RULES, FFNCase: FFN_RULES, PositionCase: POSITION_RULES}
    return rules[type(case)]


def trials(
    cases: Iterable[Case] | None = None, rules: Iterable[str] | None = None, effort: Effort | None = None
) -> list[Trial]:
    """Return a trial for each case and each rule that applies to it.

    Args:
        cases: the plugins under test; None: every registered block, norm, FFN and position code.
        rules: ids of the rules; None: all that the effort includes.
        effort: how thorough the trials are; None: what the environment says.
    """
    if cases is None:
        cases = [*block_cases(), *norm_cases(), *ffn_cases(), *position_cases()]
    ids = None if rules is None else list(rules)
    pairs = [(case, rule) for case in cases for rule in rules_of(case).chosen(case, ids, effort)]
    return [Trial(rule, case, f"{rule.id} {case}", effort) for case, rule in pairs]


def check(case: Case, rules: Iterable[str] | None = None) -> list[str]:
    """Check the rules that apply to a case, or only the given ones, and return the ids of those tried.

    Raises:
        RuleBroken: the first rule that is broken.
    """
    chosen = [trial for trial in trials([case], rules) if not trial.obstacle]
    for trial in chosen:
        trial()
    return [trial.rule.id for trial in chosen]


def check_block(
    block: Any,
    *,
    options: Mapping[str, Any] | None = None,
    rules: Iterable[str] | None = None,
    hidden_size: int | None = None,
) -> None:
    """Check the rules of blocks, in each direction that the block declares.

    Args:
        block: a registered name or a class.
        options: keyword arguments of its constructor, where the defaults do not fit a small width.
        rules: ids of the rules; None: all that the effort includes.
        hidden_size: width of the block under test; None: the smallest of 16, 32, 64 and 128 that it accepts.

    Raises:
        RuleBroken: the first rule that is broken; the message states it.
    """
    named = None if rules is None else list(rules)
    for case in block_cases([block], options=options, hidden_size=hidden_size):
        check(case, named)


def pytest_params(cases: Iterable[Case] | None = None, rules: Iterable[str] | None = None) -> list[Any]:
    """Return ``pytest.param(case, rule)`` for every case and every rule that applies to it.

    ::

        @pytest.mark.parametrize(("case", "rule"), pytest_params(block_cases(["my_block"])))
        def test_conformance(case, rule):
            rule(case)

    Args:
        cases: the plugins under test; None: every registered block, norm, FFN and position code.
        rules: ids of the rules; None: all that the effort includes.
    """
    return params_of(trials(cases, rules))
