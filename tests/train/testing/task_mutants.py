"""Tasks with one fault each; ``MUTANTS`` has rows of the id of the rule that finds it, and the plugin."""

import itertools
from typing import Any, ClassVar

import attrs
import click
import numpy as np
import torch
from train.testing.sound_task import ClassifierTrainer, PluginName, PluginNameOptions, ShuffledRun
from transformers import Trainer

from ultra_train.config.keys import Count, Share, key
from ultra_train.config.task_declaration import TaskDeclaration
from ultra_train.tasks.base import Curve, Task
from ultra_train.trainer.mixin import UltraTrainerMixin


class OnlyDeclares(TaskDeclaration):
    """Cannot be started."""


class DoesNotStart(Task):
    """Has no start."""


class WantsMore(PluginName):
    """Has a constructor of its own."""

    def __init__(self, name: str, distribution: str, size: int) -> None:
        super().__init__(name, distribution)


class PlainOptions(PluginName):
    """Its options are no attrs class."""

    options = dict


@attrs.frozen(kw_only=True)
class WithoutHelp(PluginNameOptions):
    unexplained: Count = key(3)


@attrs.frozen(kw_only=True)
class OutOfRange(PluginNameOptions):
    portion: Share = key(1.5, "a share")


@attrs.frozen(kw_only=True)
class NotForYaml(PluginNameOptions):
    when: complex = key(1j, "a number")


@attrs.frozen(kw_only=True)
class OfEveryRun(PluginNameOptions):
    batch_size: Count = key(2, "texts in a batch")


@attrs.frozen(kw_only=True)
class OfAnotherTask(PluginNameOptions):
    mlm_probability: Share = key(0.5, "share of the words that are hidden")


def with_options(options: type) -> type:
    return type(f"Task{options.__name__}", (PluginName,), {"options": options, "__doc__": "Has other keys."})


@click.command()
def greet() -> None:
    """Say hello."""


class NamesNothing(PluginName):
    """Its command is not there."""

    commands: ClassVar = {"greet-me": "train.testing.task_mutants:meet"}


class NamesNoCommand(PluginName):
    """Its command is a function."""

    commands: ClassVar = {"greet-me": "train.testing.task_mutants:with_options"}


class TakesOurCommand(PluginName):
    """Its command has the name of ours."""

    commands: ClassVar = {"validate": "train.testing.task_mutants:greet"}


class ForgetsAComma(PluginName):
    """Its curve has a string of metrics."""

    curves = (Curve("Accuracy", ("eval_accuracy")),)  # type: ignore[arg-type]


class HeadlineOfLetters(PluginName):
    """Its headline is a string."""

    headline_metrics = "eval_accuracy"


class ListOfSynonyms(PluginName):
    """Its synonyms are a list."""

    synonyms: ClassVar = {"training.fewest_words": ["min_words", "shortest"]}


class Undocumented(PluginName):
    __doc__ = None


class ComplainsAlways(PluginName):
    """Its defaults contradict each other."""

    def rules(self, options: Any, preset: Any) -> Any:
        if options.fewest_words < 5:
            yield (*self.path, "fewest_words"), "too few"


class ForgetsToYield(PluginName):
    """Returns None where nothing is wrong."""

    def rules(self, options: Any, preset: Any) -> Any:
        return None


class ReadsWhatIsNotThere(PluginName):
    """Reads a key that it does not have."""

    def idle_keys(self, options: Any, preset: Any) -> Any:
        if options.shuffle_rate == 0:
            yield "training.fewest_words"


class StartsNothing(PluginName):
    """Forgets to return the run."""

    def start(self, preset: Any, folder: Any, **options: Any) -> Any:
        ShuffledRun(self, preset, folder, **options)


class HasOtherArguments(PluginName):
    """Does not take the device."""

    def start(self, preset: Any, folder: Any) -> Any:  # type: ignore[override]
        return ShuffledRun(self, preset, folder, device=torch.device("cpu"))


class MixinLast(Trainer, UltraTrainerMixin):  # type: ignore[misc]
    """The trainer hides what the mixin does."""


def running(run: type) -> type:
    """Return a task that starts runs of a class."""

    def start(self: Any, preset: Any, folder: Any, **options: Any) -> Any:
        return run(self, preset, folder, **options)

    return type(f"Task{run.__name__}", (PluginName,), {"start": start, "__doc__": "Has other runs."})


class WithMixinLast(ShuffledRun):
    trainer_class = MixinLast  # type: ignore[assignment]


class WithoutMixin(ShuffledRun):
    trainer_class = Trainer  # type: ignore[assignment]


class CountsBatches(ShuffledRun):
    """Draws from the number of batches so far, which is not the one before the interruption."""

    trainer_class = ClassifierTrainer

    def batches(self, texts: Any, **options: Any) -> Any:
        made = super().batches(texts, **options)
        collate, count = made.collate, itertools.count()
        made.collate = lambda epoch, indices: collate(next(count), indices)
        return made


class DescribesTheMoment(ShuffledRun):
    """Its facts about the data differ each time, so that no run can be resumed."""

    def facts(self) -> Any:
        return {"data": float(np.random.default_rng().random())}


MUTANTS = [
    ("C1", OnlyDeclares),
    ("C1", DoesNotStart),
    ("C1", WantsMore),
    ("T2", PlainOptions),
    ("T2", with_options(WithoutHelp)),
    ("T2", with_options(OutOfRange)),
    ("T2", with_options(NotForYaml)),
    ("T3", with_options(OfEveryRun)),
    ("T3", with_options(OfAnotherTask)),
    ("T4", NamesNothing),
    ("T4", NamesNoCommand),
    ("T4", TakesOurCommand),
    ("T5", ForgetsAComma),
    ("T5", HeadlineOfLetters),
    ("T5", ListOfSynonyms),
    ("T6", Undocumented),
    ("T7", ComplainsAlways),
    ("T7", ForgetsToYield),
    ("T7", ReadsWhatIsNotThere),
    ("T8", StartsNothing),
    ("T8", HasOtherArguments),
    ("T8", running(WithMixinLast)),
    ("T8", running(WithoutMixin)),
    ("T9", running(CountsBatches)),
    ("T9", running(DescribesTheMoment)),
]
