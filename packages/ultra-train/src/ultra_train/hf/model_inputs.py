"""What any model of transformers is given on trial, and what it returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor

from ultra_core.errors import UltraError


def logits_of(output: Any) -> Tensor:
    """Return the logits of a model's output: an object, a mapping, a tuple, or the logits themselves."""
    if isinstance(output, Tensor):
        return output
    logits = output[0] if isinstance(output, (tuple, list)) else None
    if logits is None:
        logits = output["logits"] if isinstance(output, Mapping) else output.logits
    if not isinstance(logits, Tensor):
        raise TypeError(f"its first output is a {type(logits).__name__}, not the logits")
    return logits


def probe_inputs(model: Any, rows: int, length: int, *, padding: int = 0) -> dict[str, Tensor]:
    """Return rows of ordinary tokens for a model: ``input_ids`` and, where it takes one, ``attention_mask``.

    Two tokens alternate whose numbers are not consecutive and are no special tokens in any known vocabulary.

    Args:
        model: a model of transformers.
        rows: number of rows.
        length: tokens of a row.
        padding: how many of the last row are padding.
    """
    size = num_embeddings(model)
    pad = getattr(model.config, "pad_token_id", None)
    ordinary = [token for token in (size - 1, size - 3, size - 5) if token != pad and token >= 0][:2]
    ids = torch.tensor((ordinary * length)[:length]).repeat(rows, 1)
    real = torch.ones_like(ids)
    if padding:
        ids[-1, -padding:] = 0 if pad is None else pad
        real[-1, -padding:] = 0
    device = next(model.parameters()).device
    given = {"input_ids": ids.to(device)}
    if accepts_argument(model, "attention_mask"):
        given["attention_mask"] = real.to(device)
    return given


def num_embeddings(model: Any) -> int:
    """Return the number of tokens that a model has embeddings of."""
    size = getattr(model.config, "vocab_size", None)
    return int(size if isinstance(size, int) else model.get_input_embeddings().weight.shape[0])


def accepts_argument(model: Any, name: str) -> bool:
    """Whether the forward of a model has an argument of this name, or takes any."""
    parameters = signature(model.forward).parameters
    return name in parameters or any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())


def check_weight_shapes(info: Mapping[str, Any]) -> None:
    """Refuse a model of which weights have other shapes in its files.

    Args:
        info: what ``from_pretrained`` says with ``output_loading_info`` and ``ignore_mismatched_sizes``.

    Raises:
        UltraError: some have; the first is named.
    """
    for name, found, wanted in sorted(info.get("mismatched_keys", ())):
        raise UltraError(f"{name} is {_shape(found)} in its files, but {_shape(wanted)} by its config")


def _shape(size: Iterable[int]) -> str:
    return " x ".join(map(str, size)) or "a number"


def describe_error(error: BaseException) -> str:
    """Return the type and the first line of an error; of an error of ours, what it says."""
    if isinstance(error, UltraError):
        return str(error)
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
