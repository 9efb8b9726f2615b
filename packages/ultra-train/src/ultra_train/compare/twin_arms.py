"""Arms at the size of a toy: the same architecture and optimizer, on embedded data, without the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from ultra_core.config import parse_source
from ultra_train.compare.arms import Arm
from ultra_train.config import from_source, to_yaml
from ultra_train.hf.verbosity import transformers_errors_only
from ultra_train.twins.twin import twin

STEPS = 60
"""Updates of every run of twins, unless the comparison has another budget."""


def twins_of(arms: Sequence[Arm], folder: Path) -> list[Arm]:
    """Return the arms as twins, whose base models and tokenizers are written into a folder.

    What the user has set or varied in ``training``, the optimizer apart, also holds for the twin, which else
    has data, lengths and batches of its own.

    Args:
        arms: the arms.
        folder: where base models, tokenizers and data are written to; what is there is used again.

    Raises:
        UltraError: the config of a base model is not known, or a setting does not fit the twin.
    """
    found = []
    for arm in arms:
        with transformers_errors_only():
            made = twin(arm.preset, folder)
        again = [item for item in arm.overrides if _holds(item)]
        source = parse_source(to_yaml(made), again, file=f"the twin of {arm.name}")
        found.append(attrs.evolve(arm, preset=from_source(source, arm.preset.name)))
    return found


def _holds(override: str) -> bool:
    return override.startswith("training.") and not override.startswith("training.optimizer")
