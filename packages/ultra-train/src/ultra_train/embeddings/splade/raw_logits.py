"""Logits as they leave the output layer, for heads that bound them afterwards.

A head that ends in ``30 sigmoid(z / 7.5)``, or in another function with positive values, has no logit below
zero, so that SPLADE never gets a zero from it. The logits before have the same order and any sign.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ultra_train.embeddings.errors import EncoderError
from ultra_train.embeddings.splade.modules import splade_pairs
from ultra_train.embeddings.splade.output_layer import Recorded, output_layer

_FLAG = "ultra_raw_logits"
"""Key of ``config.json`` with which :func:`restore_raw_logits` finds that a saved model was trained so."""


def raw_logits(model: Any) -> None:
    """Let a masked language model return what its output layer returns, without what its head does to it.

    The config of the model records it, see :func:`restore_raw_logits`.

    Args:
        model: a masked language model of transformers.

    Raises:
        EncoderError: its output layer is not known.
    """
    layer = output_layer(model)
    if layer is None:
        raise EncoderError(f"{type(model).__name__} has no output layer that transformers knows")
    if not isinstance(getattr(model.forward, "__self__", None), _Raw):
        model.forward = _Raw(model, layer).forward
    setattr(model.config, _FLAG, True)


def uses_raw_logits(model: Any) -> bool:
    """Return whether :func:`raw_logits` acts on a model, or did so before it was saved."""
    return bool(getattr(model.config, _FLAG, False))


def use_raw_logits(encoder: nn.Module) -> None:
    """Let all masked language models of a SPLADE encoder return raw logits.

    Raises:
        EncoderError: an output layer is not known.
    """
    for transformer, _ in splade_pairs(encoder):
        raw_logits(transformer.model)


def restore_raw_logits(encoder: nn.Module) -> None:
    """Let the models of a loaded encoder return raw logits if they were trained so."""
    for transformer, _ in splade_pairs(encoder):
        if uses_raw_logits(transformer.model):
            raw_logits(transformer.model)


class _Raw:
    """The forward of a model with what its output layer returns in the place of the logits.

    It takes the place of ``model.forward``, which sentence-transformers calls without the hooks of the model.
    """

    def __init__(self, model: nn.Module, layer: nn.Module) -> None:
        self.model, self.layer = model, layer

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with Recorded(self.layer) as seen:
            output = type(self.model).forward(self.model, *args, **kwargs)
        if isinstance(output, tuple):
            return (seen.output, *output[1:])
        output["logits"] = seen.output
        return output
