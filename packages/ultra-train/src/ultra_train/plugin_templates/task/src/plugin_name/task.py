"""The declaration of the task ``plugin_name``; it is imported with every preset, so it imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from ultra_train.config.data import TextKeys
from ultra_train.config.keys import Count, Share, key
from ultra_train.config.preset import Preset, PresetFile
from ultra_train.config.task_declaration import Faults
from ultra_train.tasks.base import CardText, Curve, Say, Task, TaskRun

if TYPE_CHECKING:
    import torch


@attrs.frozen(kw_only=True)
class PluginNameOptions(TextKeys):
    """The keys of plain text, and two of our own, in the section ``training``."""

    shuffle_probability: Share = key(0.5, "share of the texts whose words are shuffled")
    fewest_words: Count = key(4, "shorter texts are left out")


class PluginName(Task):
    """Predicts whether the words of a text have been shuffled.

    An encoder learns the order of words from plain texts, without masks.
    """

    options: ClassVar[type | None] = PluginNameOptions
    curves: ClassVar[tuple[Curve, ...]] = (Curve("Accuracy", ("eval_accuracy",)),)
    headline_metrics: ClassVar[tuple[str, ...]] = ("eval_accuracy",)
    card: ClassVar[CardText] = CardText(
        tags=("plugin-name",), summary="An encoder trained to see whether words were shuffled."
    )

    def rules(self, options: PluginNameOptions, preset: PresetFile) -> Faults:
        """Yield a fault where the shortest texts do not fit into a row."""
        fewest = options.fewest_words
        if fewest + 2 > options.max_length:
            message = f"{fewest} words and two special tokens do not fit into max_length {options.max_length}"
            yield (*self.path, "fewest_words"), message

    def start(self, preset: Preset, folder: Path, *, device: torch.device, say: Say = print) -> TaskRun[Any]:
        """Return a run of the task."""
        from plugin_name.training import ShuffledRun

        return ShuffledRun(self, preset, folder, device=device, say=say)
