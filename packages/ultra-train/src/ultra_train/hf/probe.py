"""Trial runs of any model of transformers: what it is given, what it returns, and how to leave no trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn

from ultra_train.hf.vocabulary import num_embeddings
from ultra_train.system.random_state import random_state, restore_random_state

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest difference that is taken for rounding, relative to the largest value; 0.05 in half precision."""


@contextmanager
def preserve_state(model: nn.Module) -> Iterator[None]:
    """Disable gradients, and restore random generators, buffers and training modes afterwards.

    Args:
        model: the model that is run inside the ``with`` block.
    """
    generators = random_state()
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    modes = [(module, module.training) for module in model.modules()]
    with torch.no_grad():
        try:
            yield
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)
            for module, training in modes:
                module.training = training
            restore_random_state(generators)


def probe_inputs(model: Any, rows: int, length: int, *, padding: int = 0) -> dict[str, Tensor]:
    """Return a batch of ordinary tokens: ``input_ids`` and, where the model takes one, ``attention_mask``.

    Both have the shape (rows, length). Two tokens alternate whose ids are not consecutive and which are not
    special tokens in any known vocabulary.

    Args:
        model: a model of transformers that takes ``input_ids``.
        rows: number of rows.
        length: number of tokens per row.
        padding: number of padding tokens at the end of the last row.
    """
    size = num_embeddings(model)
    pad = getattr(model.config, "pad_token_id", None)
    ordinary = [token for token in (size - 1, size - 3, size - 5) if token != pad and token >= 0][:2]
    ids = torch.tensor((ordinary * length)[:length]).repeat(rows, 1)
    mask = torch.ones_like(ids)
    if padding:
        ids[-1, -padding:] = 0 if pad is None else pad
        mask[-1, -padding:] = 0
    device = next(model.parameters()).device
    inputs = {"input_ids": ids.to(device)}
    if accepts_argument(model, "attention_mask"):
        inputs["attention_mask"] = mask.to(device)
    return inputs


def accepts_argument(model: Any, name: str) -> bool:
    """Return whether the forward of a model has an argument of this name, or takes any arguments."""
    parameters = signature(model.forward).parameters
    return name in parameters or any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())


def logits_of(output: Any) -> Tensor:
    """Return the logits in a model's output: an object, a mapping, a tuple, or the logits themselves.

    Raises:
        TypeError: the first entry of the output is not a tensor.
    """
    if isinstance(output, Tensor):
        return output
    logits = output[0] if isinstance(output, (tuple, list)) else None
    if logits is None:
        logits = output["logits"] if isinstance(output, Mapping) else output.logits
    if not isinstance(logits, Tensor):
        raise TypeError(f"its first output is a {type(logits).__name__}, not the logits")
    return logits


def nearly_equal(found: Tensor, expected: Tensor) -> bool:
    """Return whether two tensors of one shape differ by no more than rounding, relative to the largest value.

    Matrix products of other shapes round differently; a head that mixes positions differs far more.
    """
    if found.shape != expected.shape:
        return False
    bound = _TOLERANCE.get(expected.dtype, 5e-2) * max(1e-3, float(expected.abs().max()))
    return bool((found - expected).abs().max() <= bound)
