"""The sections of a preset that is a pipeline."""

from __future__ import annotations

from typing import Any

import attrs

from ultra_train.config.keys import Count, key
from ultra_train.config.sections import Meta


@attrs.frozen(kw_only=True)
class EvaluationSection:
    """``evaluation`` of a pipeline: retrieval with the models of its steps, side by side."""

    data: str = key(help="a collection, as ultra-train eval takes it")
    models: tuple[str, ...] = key(help="names of steps whose models are evaluated")
    bm25: bool = key(True, "evaluate BM25, too")
    hybrid: bool = key(True, "evaluate rankings that are fused of all of them, too")
    split: str = key("test", "the judgements that count")
    seen_split: str | None = key(
        None, "judgements that models were trained on; documents that answer their queries are reported apart"
    )
    batch_size: Count = key(64, "texts in a forward pass")


@attrs.frozen(kw_only=True, slots=False)
class PipelineFile:
    """The sections of a pipeline.

    A step is a preset: ``preset`` names one to start from, ``base`` a step before it whose finished model is
    its base model, and all other keys are those of its preset.
    """

    meta: Meta = key(help="what list presets shows; no effect on a run", factory=Meta)
    pipeline: dict[str, dict[str, Any]] = key(
        help="steps in their order: name -> preset: one to start from, base: a step before it, other keys"
    )
    evaluation: EvaluationSection | None = key(None, "what is measured at the end")
