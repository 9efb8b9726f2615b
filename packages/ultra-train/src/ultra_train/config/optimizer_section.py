"""An optimizer of a preset, in either spelling, and the meaning of its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import attrs

from ultra_core import optimizers
from ultra_core.config import KeyPath
from ultra_core.contracts import SEED_ROLES
from ultra_core.errors import UltraError
from ultra_optim.contract.traits import OptimizerTraits, traits_of
from ultra_optim.roles.preset_keys import Parsed, parse_parameters
from ultra_train.config.optimizer import OptimizerConfig, OptimizerKeys, flat_key, from_flat
from ultra_train.config.optimizer_flat import FlatComparison, compare_flat_keys
from ultra_train.config.suggestions import misplaced_key
from ultra_train.config.task_declaration import TaskDeclaration


@attrs.frozen(kw_only=True, slots=False)
class OptimizerSection:
    """An optimizer section, or the flat keys that are equivalent to one.

    Attributes:
        config: the section as written, or what the flat keys mean.
        path: path of the section; ``training`` for flat keys.
        flat: the file has the flat spelling, so that faults point at its keys.
        bare: parameters may do without the name of the optimizer.
        roles: roles that may have learning rates of their own.
        flat_keys: the keys of ``training``, which may hold flat keys beside the section.
        displaces: the key of a learning rate that one in the section displaces, or empty.
    """

    config: OptimizerConfig
    path: KeyPath
    flat: bool = False
    bare: bool = False
    roles: frozenset[str] = frozenset()
    flat_keys: OptimizerKeys | None = None
    displaces: str = ""

    @property
    def dotted(self) -> str:
        """The path as one word."""
        return ".".join(map(str, self.path))

    @property
    def parameters_path(self) -> KeyPath:
        """The path for faults of the parameters as a whole."""
        return self.path if self.flat else (*self.path, "parameters")

    def read(self, parameters: dict[str, Any]) -> Parsed:
        """Return what parameters of this optimizer mean.

        Raises:
            PluginError: the optimizer is unknown or cannot be imported.
        """
        known = self.roles | set(SEED_ROLES)
        return parse_parameters(self.config.optimizer_class, parameters, roles=known, bare=self.bare)

    @cached_property
    def parsed(self) -> Parsed:
        """What the parameters of the section mean; see ``read``."""
        return self.read(self.config.parameters)

    @cached_property
    def name(self) -> str:
        """The optimizer's own name."""
        return optimizers.canonical(self.config.optimizer_class)[0]

    @cached_property
    def traits(self) -> Any:
        """The traits of the optimizer; the default ones when it is not installed."""
        try:
            return traits_of(optimizers.get(self.config.optimizer_class))
        except UltraError:
            return OptimizerTraits()

    @cached_property
    def with_flat_keys(self) -> FlatComparison | None:
        """The section in canonical form with what flat keys beside it add; None where there are none."""
        if self.flat_keys is None:
            return None
        section = OptimizerConfig(optimizer_class=self.name, parameters=self.parsed.canonical)
        return compare_flat_keys(self.flat_keys, section, self.parsed)

    @cached_property
    def canonical(self) -> OptimizerConfig:
        """The optimizer by its own names with complete values; the section must have no fault."""
        if self.flat:
            return self.config
        if self.with_flat_keys is not None:
            return self.with_flat_keys.optimizer
        return OptimizerConfig(optimizer_class=self.name, parameters=self.parsed.canonical)

    def faults(self) -> list[tuple[KeyPath, str]]:
        """Return every fault of the section and of the flat keys beside it."""
        try:
            parsed = self.parsed
        except UltraError as error:
            named = (
                "use_galore" if self.flat and self.config.optimizer_class != "adamw" else "optimizer_class"
            )
            return [((*self.path, named), str(error))]
        found = list(self._faults_of_flat_keys())
        for key, message in parsed.faults:
            if self.flat:
                found.append(((*self.path, flat_key(key)), message))
            else:
                place = misplaced_key(key)
                said = f"{message}; did you mean {place}?" if place else message
                found.append(((*self.path, "parameters", key), said))
        return found

    def _faults_of_flat_keys(self) -> Iterator[tuple[KeyPath, str]]:
        if (found := self.with_flat_keys) is None:
            return
        for key, message in found.faults:
            yield ("training", key), message
        for key, parameter in found.added.items():
            for _, message in self.read({parameter: getattr(self.flat_keys, key)}).faults:
                yield ("training", key), message


def sections_of(
    training: OptimizerKeys,
    options: Mapping[str, Any],
    tasks: Sequence[TaskDeclaration],
    roles: frozenset[str],
) -> dict[str, OptimizerSection]:
    """Return the optimizer of ``training`` under an empty name, and those of tasks by the name of the task.

    Args:
        training: the optimizer in either spelling, if any.
        options: the options of tasks by name; None for a section left out.
        tasks: the tasks.
        roles: roles of the parameters of the model.
    """
    found: dict[str, OptimizerSection] = {}
    flat = from_flat(training) if training.optimizer is None else None
    if training.optimizer is not None:
        path: KeyPath = ("training", "optimizer")
        found[""] = OptimizerSection(config=training.optimizer, path=path, roles=roles, flat_keys=training)
    elif flat is not None:
        found[""] = OptimizerSection(config=flat, path=("training",), flat=True, roles=roles)
    for task in tasks:
        own, given = task.own_optimizer, options[task.name]
        config = getattr(given, own.key) if own is not None and given is not None else None
        if own is not None and config is not None:
            found[task.name] = OptimizerSection(
                config=config,
                path=(*task.path, own.key),
                bare=True,
                displaces=".".join((*task.path, own.learning_rate)),
            )
    return found
