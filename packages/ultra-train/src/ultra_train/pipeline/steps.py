"""The steps of a pipeline: their presets, and the models that they take from each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import attrs

from ultra_core.config import ConfigError, Fault, KeyPath, Source
from ultra_core.config.key_names import is_override
from ultra_core.config.source import Node
from ultra_core.errors import UltraError, did_you_mean, key_of, listed
from ultra_train.config.load import form_of, from_source
from ultra_train.config.reading import open_preset
from ultra_train.pipeline.merging import merged, placed, without
from ultra_train.system.run_files import MODEL

SECTION = "pipeline"
"""The section of the steps."""

TRAINING = "training"
"""The section that overrides can set for all steps at once."""

PRESET, BASE = "preset", "base"
"""The keys of a step that are none of its preset."""

ELSEWHERE: tuple[KeyPath, ...] = (
    ("training", "hf_output_dir"),
    ("training", "output_dir"),
    ("training", "sbert", "output_dir"),
)
"""Keys for the folder of a finished model, which a step keeps in its own folder for the steps after it."""

_NAME = re.compile(r"[a-z][a-z0-9_-]*")

Contradiction = tuple[KeyPath, str] | Fault


@attrs.frozen
class Step:
    """One run of a pipeline.

    Attributes:
        name: its name.
        source: its preset, without the base model that it takes from another step.
        base: the step whose finished model is its base model, or None.
        idle_keys: keys of its preset that have no effect in a pipeline.
    """

    name: str
    source: Source
    base: str | None = None
    idle_keys: tuple[str, ...] = ()

    @property
    def base_keys(self) -> tuple[KeyPath, ...]:
        """The keys of its preset that name the base model."""
        return form_of(self.source).base_keys(self.source) if self.base is not None else ()

    def load(self, base_model: Path | None = None, *, check_files: bool = False) -> Any:
        """Return the loaded preset.

        Args:
            base_model: folder of the model of ``base``; None while that is not trained yet.
            check_files: whether data and models that are not on this machine are faults.

        Raises:
            ConfigError: the preset has faults.
        """
        root, keys = self.source.root, self.base_keys
        for key in keys:
            where = base_model or Path(self.base or "", MODEL).absolute()
            root = placed(root, key, str(where), root)
        later = keys if base_model is None else ()
        source = Source(self.source.file, root, self.source.faults)
        return from_source(source, self.name, check_files=check_files, later=later)

    def faults(self, *, check_files: bool) -> Iterator[Fault]:
        """Yield the faults of the preset, with the keys of the pipeline and the places in their files."""
        try:
            self.load(check_files=check_files)
        except ConfigError as error:
            for fault in error.faults:
                path = (SECTION, self.name, *fault.path)
                yield Fault(fault.file, fault.line, fault.column, path, fault.message)


def united(source: Source) -> Source:
    """Return a pipeline whose steps have the keys of the presets that they start from.

    ``--set STEP.KEY=VALUE`` is another way to write ``--set pipeline.STEP.KEY=VALUE``, and ``--set
    training.KEY=VALUE`` holds for all steps.
    """
    root, faults = _with_shorthands(source.root), list(source.faults)
    steps: Any = root.value.get(SECTION) if isinstance(root.value, dict) else None
    if steps is None or not isinstance(steps.value, dict):
        return Source(source.file, root, faults)
    found = dict(steps.value)
    for name, node in steps.value.items():
        given = node.value[PRESET].plain() if isinstance(node.value, dict) and PRESET in node.value else None
        if not isinstance(given, str):
            continue
        try:
            under = open_preset(given)
        except UltraError as error:
            faults.append(source.fault((SECTION, name, PRESET), str(error)))
        else:
            faults += under.faults
            found[name] = merged(under.root, node)
    return Source(source.file, _with_section(root, replace(steps, value=found)), faults)


def _with_section(root: Node, steps: Node) -> Node:
    assert isinstance(root.value, dict)
    return replace(root, value={**root.value, SECTION: steps})


def _with_shorthands(root: Node) -> Node:
    """Return the tree with overrides of steps, or of the training of all, in the section of the steps."""
    content: Any = root.value
    steps = content.get(SECTION)
    if steps is None or not isinstance(steps.value, dict):
        return root
    given = [name for name in content if is_override(root.key_lines, name)]
    moved = {name: content[name] for name in given if name in steps.value}
    if TRAINING in given:
        common = replace(root, value={TRAINING: content[TRAINING]})
        moved = {name: merged(common, moved[name]) if name in moved else common for name in steps.value}
    return _with_section(without(root, *moved, TRAINING), merged(steps, replace(root, value=moved)))


def steps_of(source: Source, names: list[str]) -> list[Step]:
    """Return the steps of a united pipeline.

    Args:
        source: the pipeline.
        names: names of its steps, in their order.
    """
    return [_step(name, node) for name in names if (node := source.node((SECTION, name))) is not None]


def _step(name: str, node: Node) -> Step:
    assert isinstance(node.value, dict)
    base = node.value[BASE].plain() if BASE in node.value else None
    root = without(node, PRESET, BASE)
    idle = tuple(key_of(path) for path in ELSEWHERE if Source(root.file, root, []).get(path) is not None)
    for path in ELSEWHERE:
        root = placed(root, path, None, root) if key_of(path) in idle else root
    return Step(name, Source(root.file, root, []), base if isinstance(base, str) else None, idle)


def naming_faults(source: Source, names: list[str]) -> Iterator[Contradiction]:
    """Yield what is wrong with the names of steps, and with what they say of each other."""
    if not names:
        yield (SECTION,), "has no steps; name at least one: mlm: {preset: quickstart}"
    for number, name in enumerate(names):
        path = (SECTION, name)
        if not _NAME.fullmatch(name) or name in RESERVED:
            yield (
                path,
                f"{name!r} cannot name a step: use small letters, digits, '_' and '-', and not "
                f"{listed(RESERVED)}",
            )
        for key in (PRESET, BASE):
            given = source.get((*path, key))
            if given is not None and not isinstance(given, str):
                yield (*path, key), f"expected a name, found {given!r}"
        base = source.get((*path, BASE))
        if isinstance(base, str) and base not in names[:number]:
            before = listed(names[:number])
            later = " A step can only use the model of one before it." if base in names else ""
            yield (
                (*path, BASE),
                f"there is no step {base!r} before {name}.{did_you_mean(base, names[:number])}{later} "
                f"Steps before it: {before}",
            )


RESERVED = ("meta", SECTION, "evaluation", TRAINING)
"""Names that a step cannot have: those of sections, which ``--set`` would take for them."""
