"""The configuration half of a task: the class behind its entry point inherits from this."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from ultra_core.config import KeyPath
from ultra_core.errors import PluginError, UltraError

if TYPE_CHECKING:
    from ultra_train.config.form import PresetForm
    from ultra_train.config.preset import PresetFile

Faults = Iterator[tuple[KeyPath, str]]
"""Pairs of the path of a key and a message about what is wrong with it."""


@attrs.frozen
class OwnOptimizer:
    """An optimizer section inside a task's own section, whose parameters need no prefix.

    Attributes:
        key: its key in the task's section.
        learning_rate: the key of the task's section that a learning rate in the optimizer section displaces.
    """

    key: str
    learning_rate: str


class TaskDeclaration:
    """The keys of a task, the rules between them, and their notices.

    Loading a preset imports the declarations of all installed tasks, so a module that holds one must not
    import torch. A task without keys of its own declares nothing.

    Args:
        name: the registered name.
        distribution: the distribution that offers it.
    """

    options: ClassVar[type | None] = None
    """An attrs class of the task's keys, each declared with ``ultra_train.config.keys.key``."""

    section: ClassVar[str | None] = None
    """The section below ``training`` that holds the options; None if they are keys of ``training``."""

    default: ClassVar[bool] = False
    """Whether a preset that names no task means this one."""

    reads_dataset: ClassVar[bool] = True
    """Whether it trains on the texts of ``training.dataset`` and ``local_parquet_dir``."""

    counts_epochs: ClassVar[bool] = False
    """Whether a run without ``max_steps`` ends after epochs that the task's own keys count."""

    own_optimizer: ClassVar[OwnOptimizer | None] = None
    """The optimizer section inside ``section``; a task without one needs ``training.optimizer``."""

    twin_options: ClassVar[Mapping[str, Any]] = {}
    """What the section has in the twin of a preset (``ultra_train.twins``) instead of its own values."""

    synonyms: ClassVar[dict[str, str]] = {}
    """Dotted keys, each with the names that other tools have for it, separated by blanks.

    What an error about an unknown key suggests. Synonyms of a task with a section hold within this section,
    and for all of ``training`` in presets that name the task.
    """

    form: ClassVar[type[PresetForm] | None] = None
    """Another form of the whole file, for presets with sections of their own."""

    def __init__(self, name: str, distribution: str = "") -> None:
        self.name = name
        self.distribution = distribution

    @property
    def path(self) -> tuple[str, ...]:
        """The path of the section that holds the options."""
        return ("training",) if self.section is None else ("training", self.section)

    def given_options(self, preset: PresetFile) -> Any:
        """Return the options of a preset as an instance of ``options``; None for a section left out."""
        training = preset.training
        if self.section is not None:
            return getattr(training, self.section)
        if self.options is None:
            return None
        names = [field.name for field in attrs.fields(self.options)]
        return self.options(**{name: getattr(training, name) for name in names})

    def rules(self, options: Any, preset: PresetFile) -> Faults:
        """Yield the contradictions in a preset that names this task.

        Args:
            options: an instance of ``options``; None for a section left out.
            preset: the sections as written.
        """
        yield from ()

    def missing(self, options: Any) -> Faults:
        """Yield the data that the options name and that is not on this machine, or cannot be read."""
        yield from ()

    def idle_keys(self, options: Any, preset: PresetFile) -> Iterator[str]:
        """Yield the dotted keys among the options that have no effect beside the other keys of a preset."""
        yield from ()


def answers(task: TaskDeclaration, method: str, *arguments: Any) -> Iterator[Any]:
    """Yield what a method of a task yields.

    Args:
        task: the declaration.
        method: ``rules``, ``missing`` or ``idle_keys``.
        arguments: the arguments of the method.

    Raises:
        PluginError: the method failed; the message names the task.
    """
    try:
        yield from getattr(task, method)(*arguments)
    except UltraError:
        raise
    except Exception as error:
        raise PluginError(
            f"{method}() of the task {task.name!r} of {task.distribution} failed: "
            f"{type(error).__name__}: {error}"
        ) from error
