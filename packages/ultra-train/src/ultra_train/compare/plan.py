"""The plan of a comparison: every trial as a complete preset, checked for fairness before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from ultra_core import tasks
from ultra_core.errors import UltraError, listed
from ultra_train.compare.arms import Arm
from ultra_train.compare.budget import Budget, common_length
from ultra_train.compare.learning_rates import Sweep, learning_rates, rated
from ultra_train.config import Preset, to_tree

OWN_KEYS: Mapping[str, Any] = {
    "hf_output_dir": None,
    "csv_log_path": None,
    "report_to": (),
    "push_to_hub": False,
    "max_rolling_checkpoints": 1,
    "num_best_checkpoints": 1,
}
"""Keys of ``training`` that all trials have: each keeps to its own folder, and keeps little."""

COMPARABLE = {
    "tokenizer": "a loss per token depends on the tokens",
    "training.dataset": "they learn and are judged on different texts",
    "training.eval_fraction": "they are judged on different texts",
    "training.max_length": "they read different lengths of text",
    "training.mlm_probability": "they see and guess different shares of the tokens",
    "training.mask_policy": "they see and guess different tokens",
}
"""Sections whose values make losses of arms incomparable when they differ, with the reason."""


@attrs.frozen
class Trial:
    """One run of a comparison.

    Attributes:
        name: the name of its run.
        arm: the name of its arm.
        seed: its seed.
        rate: the learning rate that stands for it.
        factor: by which the learning rates of the arm were multiplied.
        preset: its preset.
    """

    name: str
    arm: str
    seed: int
    rate: float
    factor: float
    preset: Preset


@attrs.frozen(kw_only=True)
class Plan:
    """All trials of a comparison, and what its reader should know.

    Attributes:
        arms: the arms in their order.
        trials: the trials in the order in which they run: all arms with the first seed come first.
        budget: what every trial may spend.
        sweep: the learning rates that are tried.
        headline: metrics of the task beside the loss.
        notices: what was adapted, and what makes the comparison unfair.
        default_rates: arms whose learning rate is the default of their optimizer.
    """

    arms: tuple[Arm, ...]
    trials: tuple[Trial, ...]
    budget: Budget
    sweep: Sweep
    headline: tuple[str, ...]
    notices: tuple[str, ...]
    default_rates: frozenset[str]

    @property
    def seeds(self) -> list[int]:
        """The seeds."""
        return list(dict.fromkeys(trial.seed for trial in self.trials))


def build_plan(
    arms: Sequence[Arm],
    *,
    budget: Budget | None,
    sweep: Sweep,
    seeds: Sequence[int] | None,
    fixed: Sequence[str],
) -> Plan:
    """Return the plan of a comparison.

    Args:
        arms: the arms.
        budget: what every trial may spend; None for the number of updates that all presets have.
        sweep: the learning rates that every arm is tried at.
        seeds: seeds of the trials; None for the one that all presets have, or 1.
        fixed: dotted keys that the user has set or varied, which stay as they are.

    Raises:
        UltraError: the arms have different tasks, or one of them holds out no texts.
    """
    task = _task(arms)
    length = budget or common_length({arm.name: arm.preset for arm in arms})
    chosen = list(seeds) if seeds is not None else _own_seeds(arms)
    names = _run_names([arm.name for arm in arms])
    found: list[Trial] = []
    for seed in chosen:
        for arm in arms:
            for each in rated(arm.preset, sweep):
                at = f"-lr{each.rate:.6g}" if sweep.numbers else ""
                name = f"{names[arm.name]}{at}-seed{seed}"
                preset = _prepared(each.preset, length, seed, fixed, name)
                found.append(Trial(name, arm.name, seed, each.rate, each.factor, preset))
    return Plan(
        arms=tuple(arms),
        trials=tuple(found),
        budget=length,
        sweep=sweep,
        headline=tuple(getattr(tasks.get(task), "headline_metrics", ())),
        notices=(*(f"{arm.name}: {line}" for arm in arms for line in arm.notices), *_unlike(arms)),
        default_rates=frozenset(arm.name for arm in arms if learning_rates(arm.preset).is_default),
    )


def _task(arms: Sequence[Arm]) -> str:
    """Return the task of all arms."""
    named: dict[str, list[str]] = {}
    for arm in arms:
        named.setdefault(arm.preset.training.task, []).append(arm.name)
    if len(named) > 1:
        said = "; ".join(f"{task}: {listed(names[:4])}" for task, names in named.items())
        raise UltraError(f"the arms have different tasks, whose metrics cannot be compared ({said})")
    for arm in arms:
        if not arm.preset.training.eval_fraction:
            raise UltraError(
                f"{arm.name}: training.eval_fraction is 0, but a comparison is judged on held-out texts; set "
                "it to 0.01, for example"
            )
    return next(iter(named))


def _own_seeds(arms: Sequence[Arm]) -> list[int]:
    own = {arm.preset.training.seed for arm in arms}
    return [own.pop()] if len(own) == 1 else [1]


def _prepared(preset: Preset, budget: Budget, seed: int, fixed: Sequence[str], name: str) -> Preset:
    training = preset.training
    keys = {"seed": seed, **OWN_KEYS, **budget.keys(training)}
    stay = {key.removeprefix("training.") for key in fixed} - {"seed", "max_steps", "scheduler_total_steps"}
    known = {key: value for key, value in keys.items() if key not in stay and hasattr(training, key)}
    return attrs.evolve(preset, training=attrs.evolve(training, **known), name=name, notices=())


def _run_names(arms: Sequence[str]) -> dict[str, str]:
    """Return names of folders for arms: letters, digits and what a name of a run may contain."""
    found: dict[str, str] = {}
    for arm in arms:
        plain = re.sub(r"[^\w.+-]+", "-", arm, flags=re.ASCII).strip("-.")[:60] or "arm"
        name, number = plain, 2
        while name in found.values():
            name, number = f"{plain}-{number}", number + 1
        found[arm] = name
    return found


def _unlike(arms: Sequence[Arm]) -> Iterator[str]:
    """Yield what makes the losses of arms incomparable."""
    trees = [to_tree(arm.preset) for arm in arms]
    for key, why in COMPARABLE.items():
        values = [_at(tree, key) for tree in trees]
        if any(value != values[0] for value in values):
            yield f"the arms have different values of {key}, so {why}: compare their losses with care"


def _at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree
