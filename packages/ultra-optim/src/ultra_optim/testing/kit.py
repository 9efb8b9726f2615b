"""The rules of the kit with their ids and conditions, and functions that run them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ultra_core import optimizers
from ultra_core.testing import Effort, Finding, Rule, Rules, Trial
from ultra_optim.testing import (
    counting,
    curvature,
    decay,
    declarations,
    distinctness,
    formula,
    group_options,
    isolation,
    kernels,
    late_schedule,
    learning,
    magnitudes,
    matrices,
    memory,
    options,
    state,
    tensors,
)
from ultra_optim.testing.subject import Bag, Subject


def constructs(subject: Subject) -> None:
    """The constructor takes groups of parameters, a learning rate, and its own defaults.

    Fix: name and annotate every argument, and give all but ``params`` a default, or pass ``options`` to the
    kit: ``def __init__(self, params, lr: float = 1e-3, *, weight_decay: float = 0.0)``.
    """
    bag = Bag([torch.ones(6, 4), torch.ones(3)])
    try:
        optimizer = subject.build(bag, lr=1e-3)
    except Exception as error:
        raise Finding(f"building it raises {type(error).__name__}: {error}") from error
    if not isinstance(optimizer, Optimizer):
        raise Finding(f"{subject.cls.__name__}(...) is a {type(optimizer).__name__}, no Optimizer")


def asks_for_kinds(subject: Subject) -> None:
    """A matrix optimizer refuses tensors without a kind, and names ``param_groups`` and ``create``.

    Fix: derive from ``ultra_optim.families.matrices.MatrixOptimizer``, or raise ``ValueError`` in
    ``add_param_group`` where a group has no ``kind``, and say "use ultra_optim.create or
    ultra_optim.param_groups".
    """
    try:
        subject.over_groups([nn.Parameter(nn.Linear(3, 4).weight.detach())])
    except ValueError as problem:
        text = str(problem)
    else:
        raise AssertionError("tensors without a kind were accepted")
    for names in (("ultra_optim.param_groups",), ("ultra_optim.create", "ultra_optim.build")):
        assert any(name in text for name in names), f"the message does not name {names[0]}: {text}"


RULES = Rules(
    (rule.id, rule)
    for rule in (
        Rule("C1", constructs, gate=True, least="quick"),
        Rule("O0", asks_for_kinds, lambda case: case.traits.matrix, least="quick"),
        Rule("O1", distinctness.differs_from_other_methods),
        Rule("O2a", learning.moves_everything, least="quick"),
        Rule("O2b", learning.reduces_the_loss, after=("O2a",)),
        Rule("O3", learning.obeys_the_gradient_scale, lambda case: case.traits.gradient_scale != "other"),
        Rule("O4b", state.keeps_plain_state, least="quick"),
        Rule("O4a", state.resumes_exactly, after=("O4b",)),
        Rule("O5", learning.is_linear_in_the_rate, lambda case: case.traits.linear_in_lr),
        Rule("O6", learning.decays_what_it_should, lambda case: case.has("weight_decay"), least="quick"),
        Rule("O7", state.ignores_how_groups_are_cut),
        Rule("O8a", state.ignores_the_order),
        Rule("O8b", state.skips_missing_gradients, least="quick", after=("O4b",)),
        Rule("O8c", state.refuses_sparse_gradients, least="quick", after=("O4b",)),
        Rule("O9", tensors.treats_elements_alike),
        Rule("O10a", tensors.leaves_others_alone),
        Rule("O10b", tensors.supports_closures),
        Rule("O11", tensors.takes_every_shape, draw=tensors.PARAMETERS, examples=12),
        Rule("O12", tensors.takes_low_precision),
        Rule("O13", learning.bounds_its_updates, lambda case: case.traits.max_update_rms is not None),
        Rule("O14", learning.evens_the_singular_values, lambda case: case.traits.max_condition is not None),
        Rule("O15", learning.follows_the_schedule, lambda case: not case.traits.initial_lr, least="quick"),
        Rule("O16", state.keeps_as_much_as_declared, lambda case: case.traits.state_per_element is not None),
        Rule("O17", state.skips_a_dropped_step, least="quick", after=("O4b", "O8b")),
        Rule("O18", state.swaps_weights, lambda case: case.traits.eval_weights),
        Rule("O19", formula.follows_its_reference, least="quick", unless=formula.lacks_a_reference),
        Rule("O20", counting.counts_each_parameter, counting.counts_apart, least="quick", after=("O8b",)),
        Rule("O21", counting.starts_added_groups_anew),
        Rule("O22", matrices.treats_blocks_as_matrices, lambda case: case.traits.matrix, least="quick"),
        Rule("O23", matrices.scales_by_shape, lambda case: case.traits.matrix),
        Rule("O24", matrices.gives_others_to_adamw, matrices.leaves_others_to_adamw),
        Rule("O25", magnitudes.holds_for_small_gradients, magnitudes.promises_a_scale, after=("O3",)),
        Rule("O26", decay.decays_in_every_step, decay.promises_a_path, least="quick", after=("O6",)),
        Rule("O27", late_schedule.follows_a_late_schedule, lambda c: not c.traits.initial_lr, after=("O15",)),
        Rule("O28", memory.keeps_state_wide, least="quick"),
        Rule("O29", memory.owns_its_state, least="quick"),
        Rule("O30", isolation.shares_nothing, least="quick"),
        Rule("O31", isolation.leaves_random_numbers_alone, least="quick"),
        Rule("O32", declarations.says_what_it_is, least="quick"),
        Rule("O33", options.options_act),
        Rule("O36", group_options.groups_have_options),
        Rule("O37", tensors.moves_parts_as_the_whole, lambda case: case.traits.elementwise, after=("O9",)),
        Rule("O34a", curvature.says_that_curvature_is_missing, lambda case: case.traits.needs_curvature),
        Rule("O34b", curvature.uses_its_curvature, lambda case: case.traits.needs_curvature),
        Rule("O35a", kernels.agrees_with_itself, kernels.has_ways),
        Rule("O35b", kernels.maximises, lambda case: case.has("maximize")),
    )
)
"""The rules by id; ``RULES["O6"].statement`` is what rule O6 requires."""


def check_optimizer(
    name: str | type[Optimizer], rule: str | None = None, options: Mapping[str, Any] | None = None
) -> None:
    """Check one rule, or all that apply to the optimizer's traits and can be tried.

    Args:
        name: a registered name or a class.
        rule: the id of a rule; None checks all.
        options: constructor options of the optimizer under test, e.g. ``{"adjust_lr_fn": "original"}``.

    Raises:
        RuleBroken: the first rule that is broken, and how.
        UltraError: an unknown rule or optimizer.
    """
    subject = subject_of(name, options)
    for one in _triable(subject) if rule is None else [RULES.named(rule)]:
        one(subject)


def trials(names: Iterable[str | type[Optimizer]] | None = None, effort: Effort | None = None) -> list[Trial]:
    """Return a trial for each optimizer and each rule that applies to its traits.

    Args:
        names: registered names or classes; None takes every registered name.
        effort: how thorough the trials are; None: what the environment says.
    """
    subjects = map(subject_of, optimizers.names() if names is None else names)
    pairs = [(subject, rule) for subject in subjects for rule in RULES.chosen(subject, effort=effort)]
    return [Trial(rule, subject, rule.id, effort) for subject, rule in pairs]


def subject_of(name: str | type[Optimizer], options: Mapping[str, Any] | None = None) -> Subject:
    """Return the case for a registered name or a class."""
    cls = optimizers.get(name) if isinstance(name, str) else name
    return Subject(name if isinstance(name, str) else cls.__name__, cls, dict(options or {}))


def cases(names: Iterable[str | type[Optimizer]] | None = None) -> list[tuple[str | type[Optimizer], str]]:
    """Return (optimizer, rule id) for every rule that applies and can be tried, for pytest's ``parametrize``.

    Args:
        names: registered names or classes; None takes every registered name.
    """
    chosen = list(optimizers.names() if names is None else names)
    return [(name, rule.id) for name in chosen for rule in _triable(subject_of(name))]


def _triable(subject: Subject) -> list[Rule]:
    return [rule for rule in RULES.chosen(subject) if not rule.unless(subject)]
