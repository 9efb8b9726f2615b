"""What a task plugin answers: model, data, collator and loss, metrics, what to save."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from ultra_train.config import Preset
from ultra_train.trainer.mixin import UltraTrainerMixin
from ultra_train.trainer.stream import PositionedLoader


class Batches(Protocol):
    """Evaluation batches: a length and the batches, the same ones every time."""

    def __len__(self) -> int:
        """Return the number of batches."""
        ...

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Yield the batches."""
        ...


class Task(ABC):
    """One way to train; the run asks its questions in the order of the methods.

    Args:
        preset: the loaded preset.
        folder: folder of the run.
        device: where it trains.
        say: prints a line about what is going on.
    """

    trainer_class: ClassVar[type[UltraTrainerMixin]]
    """A trainer of the Hugging Face family behind the mixin."""

    def __init__(
        self, preset: Preset, folder: Path, *, device: torch.device, say: Callable[[str], None] = print
    ) -> None:
        self.preset = preset
        self.folder = folder
        self.device = device
        self.say = say

    @abstractmethod
    def prepare(self) -> None:
        """Get tokenizer and data ready; may take long, and is fast the second time."""

    @property
    @abstractmethod
    def processing_class(self) -> Any:
        """The tokenizer; saved beside the model."""

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Return the model to train, with fresh or loaded weights."""

    @abstractmethod
    def loader(self, *, rank: int = 0, num_replicas: int = 1) -> PositionedLoader:
        """Return the training batches of this process."""

    @abstractmethod
    def evaluation(self, *, rank: int = 0, num_replicas: int = 1) -> Batches | None:
        """Return the evaluation batches, or None when nothing is held out."""

    @abstractmethod
    def steps(self, loader: Any, *, world_size: int = 1) -> int:
        """Return the updates until the first of ``max_steps``, ``num_epochs`` and ``max_samples``."""

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """Return what a checkpoint records of the data; ``data`` must be equal when it is resumed."""

    @abstractmethod
    def save(self, trainer: Any, folder: Path) -> None:
        """Write the finished model into a new folder, whose files the run moves to their place."""

    def events(self) -> Iterator[Mapping[str, Any]]:
        """Yield what ``metrics.jsonl`` is to hold from the beginning, such as what the data was made of."""
        yield from ()

    def trainer_options(self) -> Mapping[str, Any]:
        """Return further arguments of ``trainer_class``."""
        return {}

    def closing_words(self, trainer: Any, metrics: Mapping[str, float]) -> Iterator[Any]:
        """Yield what the run prints at its end: lines, or anything that rich can render."""
        yield from ()

    def tip(self, path: Path) -> str | None:
        """Return a command to try the finished run with, or None.

        Args:
            path: folder of the run.
        """
        return None
