"""What the task ``token_classification`` declares; importing it imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ultra_train.config.preset import Preset, PresetFile
from ultra_train.config.task_declaration import Faults
from ultra_train.data.errors import DataError
from ultra_train.data.labelled.labels import check_tag
from ultra_train.tasks.base import CardText, Curve, Say
from ultra_train.tasks.fine_tuning.task import synonyms_in
from ultra_train.tasks.labelled.task import LabelledTask
from ultra_train.tasks.token_classification.options import TokenClassificationOptions

if TYPE_CHECKING:
    import torch

    from ultra_train.tasks.token_classification.run import TokenClassificationRun

USAGE = """```python
from transformers import pipeline

tag = pipeline("token-classification", model="PATH", aggregation_strategy="first", trust_remote_code=True)
print(tag("a text"))
```

An encoder of this project needs `pip install "ultra-blocks[transformers]"`. For a whole file:
`ultra-train predict PATH texts.csv`."""


class TokenClassification(LabelledTask):
    """Tags the words of texts: names, slots, parts of speech in BIO.

    The data are rows of words and their tags; metrics count whole entities, as seqeval does.
    """

    options: ClassVar[type] = TokenClassificationOptions
    section: ClassVar[str] = "token_classification"
    synonyms: ClassVar[dict[str, str]] = synonyms_in("token_classification") | {
        "training.token_classification.dataset_name": "dataset train_dataset train_file dataset_path",
        "training.token_classification.labels": "label_list label_names tags id2label",
        "training.token_classification.label_pieces": "label_all_tokens",
    }
    curves: ClassVar[tuple[Curve, ...]] = (
        Curve("Held-out entities that are found", ("eval_f1", "eval_precision", "eval_recall")),
    )
    progress_metrics: ClassVar[Mapping[str, tuple[str, str]]] = {"eval_f1": ("entity F1", ".3f")}
    headline_metrics: ClassVar[tuple[str, ...]] = ("eval_f1", "eval_macro_f1", "eval_accuracy")
    card: ClassVar[CardText] = CardText(
        tags=("token-classification",),
        pipeline_tag="token-classification",
        summary="A tagger of words.",
        usage=USAGE,
    )

    def rules(self, options: TokenClassificationOptions | None, preset: PresetFile) -> Faults:
        """Yield what a preset lacks, and labels that are no tags."""
        yield from super().rules(options, preset)
        for label in (options.labels if options is not None else None) or ():
            try:
                check_tag(label, "labels")
            except DataError as error:
                yield (*self.path, "labels"), str(error)

    def start(
        self, preset: Preset, folder: Path, *, device: torch.device, say: Say = print
    ) -> TokenClassificationRun:
        """Return a run; see ``Task.start``."""
        from ultra_train.tasks.token_classification.run import TokenClassificationRun

        return TokenClassificationRun(self, preset, folder, device=device, say=say)
