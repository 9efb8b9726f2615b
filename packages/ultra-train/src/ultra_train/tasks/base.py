"""The two classes of a task plugin: its declaration, and one run of it.

The entry point names a subclass of ``Task``. Its module is imported whenever a preset is loaded, so it must
not import torch. A ``TaskRun`` does the training; ``Task.start`` imports its module.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import attrs

from ultra_core.errors import UltraError
from ultra_train.config.data import as_sources
from ultra_train.config.preset import Preset
from ultra_train.config.task_declaration import TaskDeclaration
from ultra_train.config.training import TrainingConfig

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ultra_train.trainer.mixin import UltraTrainerMixin
    from ultra_train.trainer.stream import PositionedLoader

Options = TypeVar("Options", covariant=True)
"""The options of a task."""

Say = Callable[[str], None]
"""A function that prints a line about the progress of the run."""


@attrs.frozen
class Curve:
    """A chart of ``report.html``.

    Attributes:
        title: the title of the chart.
        metrics: the metrics that it shows; a name that ends with ``_`` is a prefix.
    """

    title: str
    metrics: tuple[str, ...]


@attrs.frozen(kw_only=True)
class CardText:
    """The text of the model card about a task.

    Attributes:
        library: the library that loads the model, by its name on the hub.
        tags: tags for the hub.
        pipeline_tag: the pipeline of transformers that loads the model, or None.
        summary: what the model is, for presets without a summary.
        usage: Markdown on how to use it; ``PATH`` stands for where the reader has the model.
    """

    library: str = "transformers"
    tags: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    summary: str = "A trained encoder."
    usage: str = ""


class DryStep(ABC):
    """The training step of a task without its data, for ``ultra-train estimate``.

    The methods run on tensors without memory (``ultra_train.estimate.shapes``), whatever the size of the
    model, so they must create tensors with torch alone and read no weights.
    """

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Return the model that a run trains, as ``TaskRun.build_model`` does, with any weights.

        Raises:
            UltraError: what it is built from is not on this machine.
        """

    @abstractmethod
    def batch(self) -> Mapping[str, torch.Tensor]:
        """Return the largest micro-batch that a run may meet, as real tensors on the CPU."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss of a micro-batch, as the trainer computes it."""

    @property
    @abstractmethod
    def tokens(self) -> int:
        """Return the number of real tokens in a micro-batch."""

    @property
    @abstractmethod
    def max_length(self) -> int:
        """Return the length of its rows in tokens."""


LEAST_SHOWN = 0.005
"""Probability below which a guess is not shown, because it would be rounded to 0 %."""


@attrs.frozen(kw_only=True)
class Guess:
    """An answer of the model.

    Attributes:
        text: the answer.
        score: its probability, or another number that says how sure the model is; None where there is none.
    """

    text: str
    score: float | None = None


@attrs.frozen(kw_only=True)
class Sample:
    """What the model makes of one fixed input at an evaluation; the report shows it over time.

    Attributes:
        given: the input; it identifies the sample, so that it is the same at every evaluation.
        guesses: the answers of the model, best first.
        expected: the right answer, or None where there is none.
    """

    given: str
    guesses: tuple[Guess, ...]
    expected: str | None = None


class Task(TaskDeclaration, ABC):
    """The declaration of a task: keys and rules, curves, model card, commands, and the start of a run."""

    commands: ClassVar[Mapping[str, str]] = {}
    """Commands of ``ultra-train``, each with its ``module:attribute``; a literal dict."""

    curves: ClassVar[tuple[Curve, ...]] = ()
    """Charts of the report beside those of every run."""

    progress_metrics: ClassVar[Mapping[str, tuple[str, str]]] = {"eval_accuracy": ("accuracy", ".1%")}
    """Metrics that the line about an evaluation shows beside the loss: the word and the format of each."""

    headline_metrics: ClassVar[tuple[str, ...]] = ()
    """Metrics that the table at the top of the report shows beside the losses."""

    card: ClassVar[CardText] = CardText()
    """The text of the model card."""

    def training_keys(self, preset: Any) -> TrainingConfig:
        """Return the keys of ``training`` that the stages of a run read.

        A task whose presets say some of them elsewhere translates them.

        Args:
            preset: a loaded preset that names the task.
        """
        keys: TrainingConfig = preset.training
        return keys

    def resumes(self, preset: Any) -> bool | str:
        """Return whether a preset itself asks that its run be resumed, or the checkpoint that it names.

        Args:
            preset: a loaded preset that names the task.
        """
        return False

    def run_folder(self, preset: Any) -> str | None:
        """Return the folder of the run that a preset names, unless the command line names one."""
        return None

    def device(self, preset: Any) -> str | None:
        """Return the device that a preset names and this machine has, unless the command line names one."""
        return None

    @abstractmethod
    def start(self, preset: Preset, folder: Path, *, device: torch.device, say: Say = print) -> TaskRun[Any]:
        """Return a run of the task.

        Args:
            preset: a loaded preset that names it.
            folder: folder of the run.
            device: where it trains.
            say: prints a line about the progress.
        """

    def dry_step(self, preset: Preset, *, device_type: str) -> DryStep:
        """Return the training step of a preset for ``ultra-train estimate``.

        Args:
            preset: a loaded preset that names the task.
            device_type: where it would train: ``cpu`` or ``cuda``.

        Raises:
            UltraError: the task does not define one.
        """
        raise UltraError(
            f"the task {self.name} ({self.distribution}) cannot be estimated: it does not define dry_step"
        )


class Batches(Protocol):
    """Evaluation batches: a length and the batches, the same ones every time."""

    def __len__(self) -> int:
        """Return the number of batches."""
        ...

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Yield the batches."""
        ...


class TaskRun(ABC, Generic[Options]):
    """One run of a task: its model, data, loss and metrics, and what it saves.

    The stages of a run (``ultra_train.run``) call the methods in the order of this class.

    Args:
        task: the task, whose options the preset has.
        preset: the loaded preset.
        folder: folder of the run.
        device: where it trains.
        say: prints a line about the progress.
    """

    trainer_class: ClassVar[type[UltraTrainerMixin]]
    """A trainer of the Hugging Face family behind the mixin."""

    largest_gradient_norm: ClassVar[float] = 100.0
    """The gradient norm before clipping above which an update is dropped when the preset does not say."""

    tokenizer: Any
    """The tokenizer, which ``prepare`` sets; it is saved beside the model."""

    def __init__(
        self, task: Task, preset: Preset, folder: Path, *, device: torch.device, say: Say = print
    ) -> None:
        self.task = task
        self.preset = preset
        self.options: Options = task.given_options(preset)
        self.training = task.training_keys(preset)
        self.folder = folder
        self.device = device
        self.say = say

    @abstractmethod
    def prepare(self) -> None:
        """Prepare the tokenizer and the data; the results are cached for the next run."""

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Return the model to train, with fresh or loaded weights."""

    @abstractmethod
    def evaluation(self) -> Batches | None:
        """Return the evaluation batches of all processes, or None when nothing is held out."""

    @abstractmethod
    def loader(self) -> PositionedLoader:
        """Return the training batches, which the stream of the trainer divides among the processes."""

    def steps(self, loader: Any, *, world_size: int = 1) -> int:
        """Return the updates until the first of ``max_steps``, ``num_epochs`` and ``max_samples``.

        A micro-batch counts as ``batch_size`` samples here; a task that packs several into a row counts them.

        Args:
            loader: the training batches.
            world_size: number of processes, each of which adds its micro-batches to an update.
        """
        training = self.training
        window = training.gradient_accumulation_steps * world_size
        limits = [training.max_steps or training.scheduler_total_steps]
        if training.num_epochs is not None:
            limits.append(math.ceil(training.num_epochs * len(loader) / window))
        limits.append(math.ceil(training.max_samples / (training.batch_size * window)))
        return max(1, min(limits))

    def fitted(self, updates: int, updates_per_epoch: float) -> TrainingConfig:
        """Return the keys of the run when its length is known, which a task may fit to it.

        Args:
            updates: of the whole run.
            updates_per_epoch: updates in a pass over the data.
        """
        return self.training

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """Return the facts that a checkpoint records; ``data`` must be equal when the run is resumed."""

    def caches(self) -> Sequence[Path]:
        """Return the folders of token caches that the run uses, which must not be removed."""
        return ()

    def arguments(self) -> Mapping[str, Any]:
        """Return further ``TrainingArguments``, for a trainer whose class of them has more."""
        return {}

    def trainer_options(self) -> Mapping[str, Any]:
        """Return further arguments of ``trainer_class``."""
        return {}

    def card_fields(self) -> Mapping[str, Any]:
        """Return further fields of the front matter of the model card."""
        return {}

    def data_lines(self) -> Sequence[str]:
        """Return the lines of the model card about the data."""
        return [f"`{source.source}`" for source in as_sources(self.training.dataset)]

    def events(self) -> Iterator[Mapping[str, Any]]:
        """Yield events for the beginning of ``metrics.jsonl``, such as counts of the data."""
        yield from ()

    def samples(self, trainer: Any) -> Iterator[Sample]:
        """Yield what the model makes of a few inputs, the same ones at every evaluation.

        Called on every process after an evaluation, with the weights that were evaluated. It must not draw
        from random generators, because a resumed run would not continue as an uninterrupted one.

        Args:
            trainer: the trainer.
        """
        yield from ()

    @abstractmethod
    def save(self, trainer: Any, folder: Path) -> None:
        """Write the finished model into a new folder; the run then moves the files into place."""

    def closing_words(self, trainer: Any, metrics: Mapping[str, float]) -> Iterator[Any]:
        """Yield what the run prints at its end: lines, or anything that rich can render."""
        yield from ()

    def tip(self, path: Path) -> str | None:
        """Return a command to try the finished run with, or None.

        Args:
            path: folder of the run.
        """
        return None
