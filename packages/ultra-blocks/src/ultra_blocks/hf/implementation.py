"""What ``attn_implementation`` of transformers means for the blocks of an encoder."""

from __future__ import annotations

from itertools import chain
from typing import Any

from ultra_blocks.encoder import Encoder
from ultra_blocks.mixers.softmax import SoftmaxAttention

IMPLEMENTATIONS = ("sdpa", "eager")


def use_attention(encoder: Encoder, implementation: str) -> None:
    """Let the blocks of an encoder compute attention in one of two ways.

    Args:
        encoder: the encoder.
        implementation: ``sdpa``, by the kernels that each block chooses for its device; or ``eager``, with
            all scores in memory, the same up to rounding.

    Raises:
        ValueError: there is no such implementation, or ``eager`` would not change every attention block.
    """
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"attn_implementation must be sdpa or eager; given {implementation!r}. With sdpa, blocks choose "
            "the kernel for the device by themselves, also for padded and packed batches"
        )
    mixers: list[Any] = [layer.mixer for layer in encoder.layers]
    able = [[m for m in mixer.modules() if isinstance(m, SoftmaxAttention)] for mixer in mixers]
    if implementation == "eager":
        unable = {
            type(mixer).__name__
            for mixer, inner in zip(mixers, able, strict=True)
            if not inner and getattr(mixer, "role", None) == "attention"
        }
        if unable or not any(able):
            which = ", ".join(sorted(unable)) or "a model without softmax or sigmoid attention"
            raise ValueError(f"attn_implementation='eager' is not supported by {which}; leave it out")
    for attention in chain.from_iterable(able):
        attention.explicit = implementation == "eager"
