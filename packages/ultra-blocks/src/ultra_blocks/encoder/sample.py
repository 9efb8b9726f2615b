"""A small encoder on the meta device that has every kind of parameter a config leads to."""

from __future__ import annotations

import attrs

from ultra_blocks.config import UltraConfig
from ultra_blocks.encoder.meta_build import MAX_BUILDS, on_meta
from ultra_blocks.encoder.stack import Encoder


def sample_encoder(config: UltraConfig) -> Encoder:
    """Return an encoder on the meta device with one layer for each block of the pattern.

    If the pattern has more than ``MAX_BUILDS`` blocks, only the first ``MAX_BUILDS`` different ones are used.
    """
    pattern = config.layer_pattern[: config.num_layers]
    if len(pattern) > MAX_BUILDS:
        pattern = tuple({repr(spec): spec for spec in pattern}.values())[:MAX_BUILDS]
    with on_meta():
        return Encoder(attrs.evolve(config, layer_pattern=pattern, num_layers=len(pattern)))
