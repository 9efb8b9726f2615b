"""What every trial of a comparison may spend: updates, tokens, or minutes of training."""

from __future__ import annotations

import math
from typing import Any, Literal, Protocol

import attrs

from ultra_core.errors import UltraError
from ultra_train.config import Preset, TrainingConfig

Unit = Literal["steps", "tokens", "minutes"]

EVALUATIONS = 10
"""Evaluations in a trial, unless a preset is told otherwise."""
CHECKPOINTS = 5
"""Checkpoints in a trial, from which an interrupted one is continued."""

_LOG_LINES = 50
_UPDATES_A_SECOND = 1000
"""No update is faster than this, which bounds the updates of a budget in minutes."""
_ENDLESS = 10**12


class Counters(Protocol):
    """The counters of a trainer that a budget reads."""

    tokens_seen: int
    training_seconds: float
    state: Any


@attrs.frozen
class Budget:
    """The budget of every trial.

    Attributes:
        unit: updates, real tokens, or minutes spent in updates (start-up, data and evaluation excluded).
        amount: how many.
    """

    unit: Unit
    amount: float

    @property
    def words(self) -> str:
        """The budget as it is shown: ``300 updates``."""
        names = {"steps": "updates", "tokens": "tokens", "minutes": "minutes of training"}
        return (
            f"{self.amount:,g} {names[self.unit]}"
            if self.amount < 1e6
            else f"{int(self.amount):,} {names[self.unit]}"
        )

    def share(self, trainer: Counters) -> float:
        """Return the part of the budget that a trainer has spent; 1 and more when there is none left."""
        spent = {
            "steps": trainer.state.global_step,
            "tokens": trainer.tokens_seen,
            "minutes": trainer.training_seconds / 60,
        }
        return float(spent[self.unit] / self.amount)

    def keys(self, training: TrainingConfig) -> dict[str, Any]:
        """Return the keys of ``training`` that give a run this length, whatever its preset says about it.

        The schedule ends where the budget does. A run whose budget counts tokens or minutes gets more updates
        than it can need; it is stopped when the budget is spent.

        Args:
            training: the section of the trial.
        """
        updates = self._updates(training)
        keys: dict[str, Any] = {
            "scheduler_total_steps": updates,
            "max_steps": updates,
            "num_epochs": None,
            "max_samples": _ENDLESS,
        }
        if self.unit == "steps":
            keys["eval_every_n_steps"] = max(1, updates // EVALUATIONS)
            keys["checkpoint_every_n_steps"] = max(1, updates // CHECKPOINTS)
            keys["telemetry_log_interval"] = max(1, updates // _LOG_LINES)
        else:
            keys["eval_every_n_steps"] = keys["checkpoint_every_n_steps"] = updates
        return keys

    def _updates(self, training: TrainingConfig) -> int:
        if self.unit == "steps":
            return int(self.amount)
        if self.unit == "minutes":
            return math.ceil(self.amount * 60 * _UPDATES_A_SECOND)
        return math.ceil(self.amount / (training.batch_size * training.gradient_accumulation_steps))


def budget(*, steps: int | None, tokens: int | None, minutes: float | None) -> Budget | None:
    """Return the budget that the options of the command line give; None when they give none.

    Raises:
        UltraError: two of them are given, or one that is no budget.
    """
    given: dict[Unit, float] = {}
    for unit, amount in (("steps", steps), ("tokens", tokens), ("minutes", minutes)):
        if amount is not None:
            given[unit] = amount  # type: ignore[index]
    if len(given) > 1:
        names = " and ".join(f"--{unit}" for unit in given)
        raise UltraError(f"{names} are two budgets; a comparison has one")
    for unit, amount in given.items():
        if not (math.isfinite(amount) and amount > 0):
            raise UltraError(f"--{unit} {amount:g} is no budget; expected a number above 0")
        return Budget(unit, amount)
    return None


def common_length(presets: dict[str, Preset]) -> Budget:
    """Return the number of updates that all presets have.

    Args:
        presets: the preset of each arm.

    Raises:
        UltraError: they differ, so that the comparison needs a budget.
    """
    lengths = {arm: preset.training.max_steps for arm, preset in presets.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{arm} {length:,}" for arm, length in list(lengths.items())[:4] if length)
        raise UltraError(
            f"the presets have different numbers of updates ({said}{', ...' if len(lengths) > 4 else ''}); "
            "give the comparison a budget: --steps, --tokens or --minutes"
        )
    return Budget("steps", next(iter(lengths.values())) or 1)
