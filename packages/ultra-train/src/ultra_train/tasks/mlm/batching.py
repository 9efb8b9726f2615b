"""How documents are put into rows."""

from __future__ import annotations

from typing import Literal

from ultra_blocks.encoder.limits import Limits
from ultra_train.config.preset import Preset
from ultra_train.tasks.mlm.options import MLMOptions

Batching = Literal["length", "packed"]


def pick_batching(preset: Preset, options: MLMOptions, device_type: str) -> Batching:
    """Return how documents are put into rows: packed on a GPU, where kernels separate them, else by length.

    By length, too, where a block does not keep packed documents apart.
    """
    if options.batching is not None:
        return options.batching
    if device_type != "cuda" or preset.model is None:
        return "length"
    return "packed" if Limits.of(preset.model).unpacked is None else "length"
