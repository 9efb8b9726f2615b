"""What the task ``sbert`` declares; importing it imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ultra_train.config.local_files import unreadable_pairs
from ultra_train.config.preset import Preset, PresetFile
from ultra_train.config.task_declaration import Faults
from ultra_train.tasks.base import CardText, Curve, Say
from ultra_train.tasks.embeddings.steps import missing_step_models
from ultra_train.tasks.fine_tuning.task import FINE_TUNING_TWIN, FineTuningTask
from ultra_train.tasks.sbert.options import SbertOptions
from ultra_train.tasks.sbert.rules import idle_options, option_faults
from ultra_train.tasks.sbert.synonyms import SYNONYMS

if TYPE_CHECKING:
    import torch

    from ultra_train.tasks.sbert.training import SbertRun

USAGE = """```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("PATH", trust_remote_code=True)
vectors = model.encode(["first text", "second text"])
print(model.similarity(vectors, vectors))
```

For search, `model.encode_query` and `model.encode_document` put the prefixes that it was trained with before
the texts. An encoder of this project needs `trust_remote_code` and
`pip install "ultra-blocks[transformers]"`; other models need neither."""


TWIN: Mapping[str, Any] = {
    **FINE_TUNING_TWIN,
    "dataset_name": "ultra:es-commands",
    "dataset_config": None,
    "columns": {},
    "score_range": None,
    "datasets": {},
    "hard_negatives": None,
    "teacher": None,
}


class Sbert(FineTuningTask):
    """Sentence embeddings with sentence-transformers: texts of like meaning get vectors of like direction.

    The data are pairs of texts with scores, pairs, triplets, NLI, or queries with their documents, one data
    set or several.
    """

    options: ClassVar[type] = SbertOptions
    section: ClassVar[str] = "sbert"
    twin_options: ClassVar[Mapping[str, Any]] = TWIN
    synonyms: ClassVar[dict[str, str]] = SYNONYMS
    curves: ClassVar[tuple[Curve, ...]] = (
        Curve(
            "Held-out pairs: correlation of the similarity with their scores",
            ("eval_spearman_cosine", "eval_pearson_cosine"),
        ),
        Curve(
            "Held-out queries: the ranking of their documents",
            ("eval_cosine_mrr@10", "eval_cosine_ndcg@10", "eval_cosine_accuracy@1"),
        ),
        Curve("Held-out triplets that are in the right order", ("eval_cosine_accuracy",)),
    )
    progress_metrics: ClassVar[Mapping[str, tuple[str, str]]] = {
        "eval_spearman_cosine": ("Spearman", ".3f"),
        "eval_cosine_accuracy": ("triplets right", ".1%"),
        "eval_cosine_ndcg@10": ("nDCG@10", ".3f"),
    }
    headline_metrics: ClassVar[tuple[str, ...]] = (
        "eval_spearman_cosine",
        "eval_cosine_mrr@10",
        "eval_cosine_ndcg@10",
        "eval_cosine_accuracy",
    )
    card: ClassVar[CardText] = CardText(
        library="sentence-transformers",
        tags=("sentence-transformers", "sentence-similarity", "feature-extraction"),
        pipeline_tag="sentence-similarity",
        summary="A model of sentence embeddings.",
        usage=USAGE,
    )

    def rules(self, options: SbertOptions | None, preset: PresetFile) -> Faults:
        """Yield what a preset that trains sentence embeddings lacks, and what in it does not fit together."""
        if options is not None:
            yield from option_faults(options, self.path)
        yield from super().rules(options, preset)

    def missing(self, options: SbertOptions) -> Faults:
        """Yield a fault for pairs that are not on this machine, or cannot be read."""
        if options.dataset_name is not None:
            yield from unreadable_pairs((*self.path, "dataset_name"), options.dataset_name)
        yield from missing_step_models(options.hard_negatives, options.teacher, self.path)
        for name, one in options.datasets.items():
            place = (*self.path, "datasets", name)
            yield from unreadable_pairs((*place, "source"), one.source)
            yield from missing_step_models(one.hard_negatives, one.teacher, place)
        yield from super().missing(options)

    def idle_keys(self, options: SbertOptions, preset: PresetFile) -> Iterator[str]:
        """Yield the options without effect, and the keys of ``training`` that the section replaces."""
        yield from (".".join((*self.path, name)) for name in idle_options(options))
        yield from super().idle_keys(options, preset)

    def start(self, preset: Preset, folder: Path, *, device: torch.device, say: Say = print) -> SbertRun:
        """Return a run; see ``Task.start``."""
        from ultra_train.tasks.sbert.training import SbertRun

        return SbertRun(self, preset, folder, device=device, say=say)
