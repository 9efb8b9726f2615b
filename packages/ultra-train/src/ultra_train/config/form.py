"""A form of preset files: its sections, and its part in the stages of loading."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import attrs

from ultra_core.config import Fault, KeyPath, Source

P = TypeVar("P")
"""The class of the whole file."""


@attrs.frozen
class Written:
    """A file with canonical keys and names.

    Attributes:
        source: the file; its faults are those of the writing itself.
        renamed: a line about each name that was rewritten.
        given: the paths of all keys that the file sets to something.
    """

    source: Source
    renamed: tuple[str, ...]
    given: frozenset[KeyPath]


class Draft(ABC):
    """The typed sections of a file on their way to a loaded preset."""

    @abstractmethod
    def faults(self, *, check_files: bool) -> Iterable[tuple[KeyPath, str] | Fault]:
        """Return where keys contradict each other or the installed plugins; those of other files as faults.

        Args:
            check_files: whether what is ``missing`` is a fault, too.
        """

    @abstractmethod
    def missing(self) -> Iterable[tuple[KeyPath, str]]:
        """Return the data and models that are named but are not on this machine."""

    @abstractmethod
    def complete(self, name: str, absent: Iterable[str]) -> Any:
        """Return the preset in canonical form, with every default and its notices.

        Args:
            name: name of the preset.
            absent: notices about what is not on this machine.
        """


class PresetForm(ABC, Generic[P]):
    """One form that a preset file may have."""

    @abstractmethod
    def accepts(self, source: Source) -> bool:
        """Whether a file has this form."""

    condition: ClassVar[Mapping[str, Any]] = {}
    """The JSON Schema of the files that have this form, for those that a task declares."""

    @property
    @abstractmethod
    def file_class(self) -> type[P]:
        """The attrs class of the whole file."""

    @abstractmethod
    def translate(self, source: Source) -> tuple[Source, list[str]]:
        """Return the file with canonical keys and names, and a line about each that was rewritten."""

    @abstractmethod
    def suggest(self, source: Source, path: KeyPath) -> str:
        """Return the message about an unknown key, or an empty text for the default message."""

    @abstractmethod
    def draft(self, preset: P, written: Written) -> Draft:
        """Return the draft of a preset.

        Args:
            preset: the sections; faulty values are left out.
            written: the file that they come from.
        """

    def base_keys(self, source: Source) -> tuple[KeyPath, ...]:
        """Return the keys that name the finished model which a run continues, its tokenizer included."""
        return (("base_model",),)

    def refusal(self) -> tuple[KeyPath, str] | None:
        """Return why a preset is not that of one run, and at which key to say so; None if it is."""
        return None
