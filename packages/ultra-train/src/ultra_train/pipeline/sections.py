"""The sections of a preset that is a pipeline."""

from __future__ import annotations

from typing import Any

import attrs

from ultra_train.config.keys import key
from ultra_train.config.sections import Meta


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
