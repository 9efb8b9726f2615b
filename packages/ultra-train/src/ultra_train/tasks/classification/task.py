"""What the task ``classification`` declares; importing it imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ultra_train.config.preset import Preset, PresetFile
from ultra_train.config.task_declaration import Faults
from ultra_train.data.labelled.checking import Problem
from ultra_train.tasks.base import CardText, Curve, Say
from ultra_train.tasks.classification.options import ClassificationOptions
from ultra_train.tasks.fine_tuning.task import synonyms_in
from ultra_train.tasks.labelled.task import LabelledTask

if TYPE_CHECKING:
    import torch

    from ultra_train.tasks.classification.run import ClassificationRun

USAGE = """```python
from transformers import pipeline

classify = pipeline("text-classification", model="PATH", trust_remote_code=True)
print(classify("a text"))
```

An encoder of this project needs `pip install "ultra-blocks[transformers]"`. For a whole file:
`ultra-train predict PATH texts.csv`."""


class Classification(LabelledTask):
    """Puts texts, or pairs of them, into classes, or gives them a number.

    The data are rows of a text and a label; one class of a text, several, or a number.
    """

    options: ClassVar[type] = ClassificationOptions
    section: ClassVar[str] = "classification"
    synonyms: ClassVar[dict[str, str]] = synonyms_in("classification") | {
        "training.classification.dataset_name": "dataset train_dataset train_file dataset_path",
        "training.classification.labels": "label_list label_names classes id2label",
        "training.classification.class_weights": "class_weight loss_weights",
        "training.classification.pooling": "pooling_mode classifier_pooling",
    }
    commands: ClassVar[Mapping[str, str]] = {"predict": "ultra_train.tasks.labelled.command:predict"}
    curves: ClassVar[tuple[Curve, ...]] = (
        Curve("Held-out texts that get the right labels", ("eval_accuracy", "eval_macro_f1", "eval_mcc")),
        Curve("Held-out texts: correlation with their numbers", ("eval_pearson", "eval_spearman")),
    )
    progress_metrics: ClassVar[Mapping[str, tuple[str, str]]] = {
        "eval_accuracy": ("accuracy", ".1%"),
        "eval_macro_f1": ("macro-F1", ".3f"),
        "eval_pearson": ("Pearson", ".3f"),
    }
    headline_metrics: ClassVar[tuple[str, ...]] = (
        "eval_accuracy",
        "eval_macro_f1",
        "eval_mcc",
        "eval_pearson",
    )
    card: ClassVar[CardText] = CardText(
        tags=("text-classification",),
        pipeline_tag="text-classification",
        summary="A classifier of texts.",
        usage=USAGE,
    )

    def problem(self, options: ClassificationOptions) -> Problem:
        """Return what a label is."""
        return options.problem_type

    def rules(self, options: ClassificationOptions | None, preset: PresetFile) -> Faults:
        """Yield what a preset lacks, and what in it does not fit together."""
        yield from super().rules(options, preset)
        if options is None:
            return
        if options.class_weights is not None and options.problem_type != "single_label":
            yield (
                (*self.path, "class_weights"),
                f"only single_label has class weights, and problem_type is {options.problem_type}",
            )
        if options.labels is not None and options.problem_type == "regression":
            yield (*self.path, "labels"), "regression has numbers instead of labels; leave them out"
        if options.labels is not None and options.problem_type == "single_label" and len(options.labels) < 2:
            yield (*self.path, "labels"), "names one label, so that there is nothing to choose; name two"

    def idle_keys(self, options: ClassificationOptions, preset: PresetFile) -> Iterator[str]:
        """Yield the options without effect."""
        if options.problem_type != "multi_label" and options.label_separator != "|":
            yield ".".join((*self.path, "label_separator"))
        yield from super().idle_keys(options, preset)

    def start(
        self, preset: Preset, folder: Path, *, device: torch.device, say: Say = print
    ) -> ClassificationRun:
        """Return a run; see ``Task.start``."""
        from ultra_train.tasks.classification.run import ClassificationRun

        return ClassificationRun(self, preset, folder, device=device, say=say)
