"""Encoders of this project compute the texts of a batch without their padding."""

from __future__ import annotations

from torch import nn

from ultra_blocks.hf import UltraModel


def unpad_inputs(encoder: nn.Module) -> int:
    """Let the models of this project in an encoder put several texts of a batch into one row.

    The vectors are the same up to rounding. Models of transformers leave out padding themselves, with
    FlashAttention; they are left as they are.

    Args:
        encoder: an encoder of sentence-transformers, one of its modules, or a model of transformers.

    Returns:
        the number of models that do so.
    """
    found = [model for model in encoder.modules() if isinstance(model, UltraModel)]
    for model in found:
        model.unpad_inputs = True
    return len(found)
