"""What a run needs from a checkpoint to resume, and whether it is there and of the right kind."""

from __future__ import annotations

import types
import typing
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from transformers import PreTrainedConfig, TrainerState

from ultra_train.hf.verbosity import transformers_errors_only
from ultra_train.system import files
from ultra_train.system.random_state import random_state, restore_random_state
from ultra_train.trainer.checkpoints.folders import Checkpoint, CheckpointError
from ultra_train.trainer.checkpoints.state_files import check_state, load_state

PROGRESS = "progress.json"
TRAINER_STATE = "trainer_state.json"
WEIGHTS = frozenset({"model.safetensors", "model.safetensors.index.json"})
"""Names of the files with the weights of a model, or of one of its modules in a folder of its own."""
MAX_COUNT = 2**53
"""Upper bound of every count of a run; greater JSON numbers are not exact everywhere."""


def read_progress(folder: Path) -> dict[str, Any]:
    """Read the progress of a run: position in the data, counters, and the state of the log.

    Raises:
        CheckpointError: the file is missing, or ultra did not write it.
    """
    facts = _object(folder, PROGRESS)
    position = facts.get("position")
    if not (isinstance(position, list) and len(position) == 2 and all(is_count(n) for n in position)):
        raise CheckpointError(f"{PROGRESS}: position is not an epoch and an index")
    for name in ("step", "tokens_seen", "dropped_updates"):
        if not is_count(facts.get(name)):
            raise CheckpointError(f"{PROGRESS}: {name} is not a whole number")
    seconds = facts.get("training_seconds", 0.0)
    if type(seconds) not in (int, float) or not 0 <= seconds < MAX_COUNT:
        raise CheckpointError(f"{PROGRESS}: training_seconds is not a number of seconds")
    for name in ("window", "guard", "rollbacks"):
        if not isinstance(facts.get(name, {}), dict):
            raise CheckpointError(f"{PROGRESS}: {name} is not an object")
    return facts


def _object(folder: Path, name: str) -> dict[str, Any]:
    """Read a JSON object of a checkpoint.

    Raises:
        CheckpointError: it cannot be read, or is not an object.
    """
    try:
        found = files.read_json(folder / name)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{name} cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{name} is not an object")
    return found


def is_count(value: Any) -> TypeGuard[int]:
    """Return whether a value is a whole number that a counter of a run can have."""
    return type(value) is int and 0 <= value < MAX_COUNT


def resume_damage(checkpoint: Checkpoint) -> str | None:
    """Return why a run cannot resume from a checkpoint whose files are as written, or None."""
    try:
        progress = read_progress(checkpoint.path)
        state = read_trainer_state(checkpoint.path)
        for name, step in ((PROGRESS, progress["step"]), (TRAINER_STATE, state["global_step"])):
            if step != checkpoint.step:
                return f"{name} is of step {step}"
        listed = checkpoint.manifest["files"]
        if not WEIGHTS & {Path(name).name for name in listed}:
            return "it has no weights"
        _check_optimizer(check_state(checkpoint.path / "optimizer"))
        schedule = check_state(checkpoint.path / "schedule")
        if not isinstance(schedule, dict) or not is_count(schedule.get("last_epoch")):
            return "schedule.json is not the state of a schedule"
        check_random(load_state(checkpoint.path / "random"))
    except (CheckpointError, OSError) as error:
        return str(error)
    return _config_damage(checkpoint.path / "config.json")


def _check_optimizer(state: Any) -> None:
    groups = state.get("param_groups") if isinstance(state, dict) else None
    whole = isinstance(groups, list) and all(isinstance(g, dict) and "params" in g for g in groups)
    if not whole or not isinstance(state.get("state"), dict):
        raise CheckpointError("optimizer.json is not the state of an optimizer")


def _config_damage(path: Path) -> str | None:
    """Return why transformers cannot read the model's configuration, or None; a model need not have one."""
    if not path.exists():
        return None
    try:
        with warnings.catch_warnings(), transformers_errors_only():
            warnings.simplefilter("ignore")  # about names that have another meaning in the generic class
            PreTrainedConfig.from_json_file(str(path))
    except Exception as error:  # its checks raise errors of many kinds
        return f"{path.name} is not the configuration of a model ({type(error).__name__}: {error})"
    return None


def read_trainer_state(folder: Path) -> dict[str, Any]:
    """Read the state of transformers' trainer, and check the type of every value.

    Raises:
        CheckpointError: the file is missing, or transformers did not write it.
    """
    state = _object(folder, TRAINER_STATE)
    hints = {**typing.get_type_hints(TrainerState), "stateful_callbacks": dict[str, Any]}
    if not is_count(state.get("global_step")):
        raise CheckpointError(f"{TRAINER_STATE} is not the state of a trainer")
    for name, value in state.items():
        if name not in hints:
            raise CheckpointError(f"{TRAINER_STATE}: {name[:40]!r} is unknown")
        if value is not None and not _fits(value, hints[name]):
            raise CheckpointError(f"{TRAINER_STATE}: {name} has a value of another type")
    for name in ("logging_steps", "eval_steps", "save_steps"):
        if (interval := state.get(name)) is not None and not interval > 0:
            raise CheckpointError(f"{TRAINER_STATE}: {name} is not above 0")
    if not all(isinstance(v, (dict, list)) for v in (state.get("stateful_callbacks") or {}).values()):
        raise CheckpointError(f"{TRAINER_STATE}: stateful_callbacks has a value of another type")
    return state


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, a) for a in arguments)
    if hint is Any:
        return True
    if hint in (int, float):
        return (type(value) is int and abs(value) < 2**63) or type(value) is hint is float
    if origin in (list, dict):  # their content is only written again
        return isinstance(value, origin)
    return isinstance(value, hint) if isinstance(hint, type) else False


def check_random(generators: Any) -> None:
    """Check that states of random generators can be set; the present states are restored.

    Raises:
        CheckpointError: they cannot be set.
    """
    before = random_state()
    try:
        for state in generators:
            restore_random_state(state)
    except (
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
        RuntimeError,
        IndexError,
        OverflowError,
    ) as error:
        raise CheckpointError(f"the states of the random generators cannot be set ({error})") from error
    finally:
        restore_random_state(before)


def same_kind(expected: Any, given: Any, where: str) -> None:
    """Check that two states have values of the same kind under the same keys.

    Args:
        expected: the state that is in use.
        given: the state that was read.
        where: path of the state, for the error message.

    Raises:
        CheckpointError: they differ; the message names the place.
    """
    if isinstance(expected, Mapping):
        if not isinstance(given, Mapping):
            raise CheckpointError(f"{where} is a {type(given).__name__}, not a mapping")
        for key in expected.keys() & given.keys():
            same_kind(expected[key], given[key], f"{where}[{key!r}]")
    elif isinstance(expected, (list, tuple)):
        if not isinstance(given, (list, tuple)) or len(given) != len(expected):
            raise CheckpointError(f"{where} does not have {len(expected)} values")
        for index, value in enumerate(expected):
            same_kind(value, given[index], f"{where}[{index}]")
    elif None not in (expected, given) and _kind(expected) is not _kind(given):
        raise CheckpointError(f"{where} is a {type(given).__name__}, not a {type(expected).__name__}")


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)
