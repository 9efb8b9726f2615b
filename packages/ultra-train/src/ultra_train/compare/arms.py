"""The arms of a comparison: presets, each with every combination of the varied values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product

import attrs

from ultra_core.config import ConfigError, Fault, Source
from ultra_core.errors import UltraError, listed
from ultra_train.compare.carry_over import (
    OPTIMIZER,
    carry_over,
    is_named,
    optimizer_of_key,
    optimizer_of_preset,
)
from ultra_train.compare.faults import fault_lines
from ultra_train.compare.values import Axis, Value
from ultra_train.config import Preset, load_common
from ultra_train.config.reading import name_of, open_preset

Choice = tuple[Axis, Value]

_LENGTH = "every run of a comparison has the same budget; give it with --steps, --tokens or --minutes"
ELSEWHERE = {
    "training.seed": "seeds are given with --seeds, which shows intervals over them",
    **{
        f"training.{key}": _LENGTH
        for key in ("max_steps", "scheduler_total_steps", "num_epochs", "max_samples")
    },
}
"""Keys that are not varied, with what to do instead."""

OF_EACH_RUN = ("hf_output_dir", "csv_log_path", "push_to_hub", "hub_model_id")
"""Keys of ``training`` for the result of one run, which the next run would overwrite or refuse."""


@attrs.frozen
class Arm:
    """One side of a comparison.

    Attributes:
        name: its name in tables and on the page.
        preset: its loaded preset.
        overrides: the ``KEY=VALUE`` settings that make it of the file.
        notices: what was adapted for it.
    """

    name: str
    preset: Preset
    overrides: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def build_arms(
    presets: Sequence[str], axes: Sequence[Axis], settings: Sequence[str], *, check_files: bool = True
) -> list[Arm]:
    """Load the preset of every arm; nothing is trained.

    A setting or an axis for a parameter of one optimizer (``training.optimizer.parameters.lion-lr``) acts on
    the arms with this optimizer when the optimizer is varied.

    Args:
        presets: names or files.
        axes: the varied keys; several make all combinations.
        settings: ``KEY=VALUE`` settings of all arms.
        check_files: whether data and models that are not on this machine are faults.

    Raises:
        UltraError: all faults of all arms, a key that is varied twice, or a preset that is there twice.
    """
    _check(presets, axes, settings)
    arms: list[Arm] = []
    faults: dict[str, list[str]] = {}
    names = _preset_names(presets)
    for given in presets:
        source = open_preset(given)
        for choices in _combinations(source, axes):
            name = _name(names[given] if len(presets) > 1 else "", choices) or names[given]
            try:
                arms.append(_load(given, source, name, choices, settings, check_files))
            except ConfigError as error:
                for fault in error.faults:
                    faults.setdefault(_said(fault, choices), []).append(name)
    if faults:
        count = len(arms) + len({name for named in faults.values() for name in named})
        raise UltraError("\n".join(fault_lines(faults, count)))
    _check_parameters_used(arms, axes, settings)
    return arms


def _check(presets: Sequence[str], axes: Sequence[Axis], settings: Sequence[str]) -> None:
    for what, names in (
        ("the preset", [str(preset) for preset in presets]),
        ("--vary", [axis.key for axis in axes]),
    ):
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise UltraError(f"{what} {listed(twice)} is there twice; name it once")
    for axis in axes:
        if axis.key in ELSEWHERE:
            raise UltraError(f"--vary {axis.key}: {ELSEWHERE[axis.key]}")
    given = [item.partition("=")[0].strip() for item in settings]
    for key in (*given, *(axis.key for axis in axes)):
        if key.removeprefix("training.") in OF_EACH_RUN:
            raise UltraError(
                f"{key}: each run of a comparison keeps its result in its own folder; leave it out"
            )
    both = {axis.key for axis in axes} & set(given)
    if both:
        raise UltraError(f"{listed(sorted(both))} is both varied and set; remove --set or --vary")


def _combinations(source: Source, axes: Sequence[Axis]) -> Iterator[tuple[Choice, ...]]:
    """Yield the combinations of values; a parameter of one optimizer is varied only where it is used."""
    general = [axis for axis in axes if optimizer_of_key(axis.key) is None]
    special = [axis for axis in axes if axis not in general]
    for chosen in product(*([(axis, value) for value in axis.values] for axis in general)):
        optimizer = _optimizer(source, chosen)
        own = [axis for axis in special if is_named(optimizer, optimizer_of_key(axis.key) or "")]
        for more in product(*([(axis, value) for value in axis.values] for axis in own)):
            yield (*chosen, *more)


def _optimizer(source: Source, choices: Iterable[Choice]) -> str:
    varied = (value.text for axis, value in choices if axis.key == OPTIMIZER)
    return next(varied, None) or optimizer_of_preset(source)


def _load(
    given: str,
    source: Source,
    name: str,
    choices: Sequence[Choice],
    settings: Sequence[str],
    check_files: bool,
) -> Arm:
    optimizer = _optimizer(source, choices)
    varied = any(axis.key == OPTIMIZER for axis, _ in choices)
    own = [item for item in settings if not varied or _concerns(item, optimizer)]
    own += [f"{axis.key}={value.text}" for axis, value in choices if axis.key != OPTIMIZER]
    carried = carry_over(source, optimizer, own) if varied else None
    overrides = [*(carried.overrides if carried is not None else ()), *own]
    preset = load_common(given, overrides, check_files=check_files, what="compare")
    return Arm(name, preset, tuple(overrides), carried.notices if carried is not None else ())


def _concerns(setting: str, optimizer: str) -> bool:
    prefix = optimizer_of_key(setting.partition("=")[0].strip())
    return prefix is None or is_named(optimizer, prefix)


def _check_parameters_used(arms: Sequence[Arm], axes: Sequence[Axis], settings: Sequence[str]) -> None:
    """Refuse parameters of an optimizer that no arm has, which would be ignored otherwise."""
    used = [arm.preset.training.optimizer.optimizer_class for arm in arms if arm.preset.training.optimizer]
    keys = [*(axis.key for axis in axes), *(item.partition("=")[0].strip() for item in settings)]
    for key in keys:
        prefix = optimizer_of_key(key)
        if prefix is not None and not any(is_named(name, prefix) for name in used):
            raise UltraError(
                f"{key}: no arm has the optimizer {prefix!r}; the arms have {listed(sorted(set(used)))}"
            )


def _preset_names(presets: Sequence[str]) -> dict[str, str]:
    """Return the name of each preset; the whole path where two files have the same one."""
    names = {given: name_of(given) for given in presets}
    every = list(names.values())
    return {given: given if every.count(name) > 1 else name for given, name in names.items()}


def _name(preset: str, choices: Sequence[Choice]) -> str:
    """Return the name of an arm: that of the preset where there are several, and what is varied."""
    parts = [preset] if preset else []
    for axis, value in choices:
        speaks = axis.key == OPTIMIZER
        parts.append(value.text if speaks else f"{axis.key.rpartition('.')[2]}={value.text}")
    return ", ".join(parts)


def _said(fault: Fault, choices: Sequence[Choice]) -> str:
    """Return a fault; one of a varied value names the option and the column."""
    for axis, value in choices:
        own = fault.file == f"--set {axis.key}" or (axis.key == OPTIMIZER and fault.file == _WHOLE)
        if own and fault.file.startswith("--set "):
            return f"--vary {axis.key}, column {value.column} ({value.text}): {fault.message}"
    return str(fault)


_WHOLE = "--set training.optimizer"
"""The origin of faults in an optimizer section that replaces the preset's."""
