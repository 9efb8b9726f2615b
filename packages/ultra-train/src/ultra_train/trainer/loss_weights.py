"""The weights of losses: a classifier over pairs, a head for each layer, whatever is not in the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from torch import Tensor, nn

LOSS_WEIGHTS = "loss_weights.safetensors"
"""The file of a checkpoint that holds them; the finished model has none."""


def losses_of(trainer: Any) -> Iterator[tuple[str, nn.Module]]:
    """Yield the losses of a trainer that are modules, with the names of their data sets if it has several."""
    loss = getattr(trainer, "loss", None)
    for name, module in loss.items() if isinstance(loss, Mapping) else [("loss", loss)]:
        if isinstance(module, nn.Module):
            yield name, module


def losses_with_parameters(trainer: Any) -> Iterator[nn.Module]:
    """Yield the losses of a trainer that have parameters which its model does not have."""
    known = {id(p) for p in trainer.model.parameters()}
    for _, module in losses_of(trainer):
        if any(id(p) not in known for p in module.parameters()):
            yield module


def loss_weights(trainer: Any) -> dict[str, Tensor]:
    """Return the parameters and buffers of the losses that the model does not have, each once."""
    known = {id(t) for t in _tensors(trainer.model).values()}
    found: dict[str, Tensor] = {}
    for loss, module in losses_of(trainer):
        for name, tensor in _tensors(module).items():
            if id(tensor) not in known:
                known.add(id(tensor))
                found[f"{loss}.{name}"] = tensor
    return found


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(chain(module.named_parameters(), module.named_buffers()))
