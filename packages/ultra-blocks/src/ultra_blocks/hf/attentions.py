"""The attention weights of the layers of an encoder, for ``output_attentions``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ultra_blocks.encoder import Encoder


@contextmanager
def recorded_weights(encoder: Encoder, found: list[Tensor]) -> Iterator[None]:
    """Append the weights ``(B, H, T, T)`` of every layer that an encoder runs, in this order.

    Args:
        encoder: the encoder.
        found: where they are appended; with ``num_loops`` the layers come several times.

    Raises:
        ValueError: a block has no attention weights, or activations are recomputed in the backward pass.
    """
    mixers: list[Any] = [layer.mixer for layer in encoder.layers]
    without = {
        number: type(mixer).__name__
        for number, mixer in enumerate(mixers)
        if not getattr(mixer, "has_weights", False)
    }
    if without:
        named = ", ".join(f"{number} ({name})" for number, name in without.items())
        raise ValueError(
            f"output_attentions: these layers have no attention weights: {named}. Blocks of softmax or "
            "sigmoid attention over all tokens have them"
        )
    if encoder.gradient_checkpointing and encoder.training:
        raise ValueError(
            "output_attentions: not while activations are recomputed in the backward pass "
            "(gradient_checkpointing); switch that off, or call eval()"
        )

    def record(mixer: Any, arguments: Any) -> None:
        found.append(mixer.attention_weights(*arguments))

    handles = [mixer.register_forward_pre_hook(record) for mixer in mixers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
