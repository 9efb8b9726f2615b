"""Whole weights of a model whose parameters are divided among processes, and the way back."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ultra_optim.sharded.layout import fill, whole
from ultra_train.trainer.checkpoints.folders import CheckpointError
from ultra_train.trainer.fully_sharded import reshard


def whole_tensors(named: Iterable[tuple[str, Tensor]], *, keep: bool) -> dict[str, Tensor]:
    """Collect tensors one by one in the memory of the CPU; all processes call this together.

    Args:
        named: the tensors; one that has two names is collected once.
        keep: whether this process needs them.

    Returns:
        the whole tensors; empty if they are not needed.
    """
    found: dict[str, Tensor] = {}
    known: dict[int, Tensor] = {}
    for name, tensor in named:
        if (collected := known.get(id(tensor))) is None:
            collected = whole(tensor)
            collected = known[id(tensor)] = collected.to("cpu", copy=True) if keep else torch.empty(0)
        if keep:
            found[name] = collected
    return found


def named_weights(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Yield the entries of the state dict of a model as its modules hold them, shared ones repeatedly."""
    model = uncompiled(model)
    reshard(model)
    held: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    held |= dict(model.named_buffers(remove_duplicate=False))
    for name, value in model.state_dict().items():
        yield name, held.get(name, value)


def uncompiled(model: Any) -> Any:
    """Return the model inside ``torch.compile``'s wrapper."""
    return getattr(model, "_orig_mod", model)


def fill_weights(model: nn.Module, weights: Mapping[str, Any]) -> set[str]:
    """Give a model the weights of the names that it has; every process takes its part.

    Args:
        model: the model.
        weights: whole tensors by name.

    Returns:
        the names that were filled, shared tensors under all their names.

    Raises:
        CheckpointError: a shape differs.
    """
    entries = dict(named_weights(model))
    filled = {id(entries[name]) for name in weights if name in entries}
    for name in entries.keys() & weights.keys():
        try:
            fill(entries[name], weights[name])
        except ValueError as error:
            raise CheckpointError(f"the checkpoint does not fit this model: {name} has {error}") from error
    return {name for name, tensor in entries.items() if id(tensor) in filled}


def plain_model(model: Any, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return a model of transformers in one piece, on the CPU, in the place of a sharded one.

    Args:
        model: the sharded model.
        weights: its whole weights.
    """
    model = uncompiled(model)
    cls = next(c for c in type(model).__mro__ if not c.__name__.startswith("FSDP"))
    config = copy.deepcopy(model.config)
    with torch.random.fork_rng(devices=[]):
        plain: nn.Module = cls(config)
    plain.to(next(p.dtype for p in model.parameters()))
    plain.load_state_dict(dict(weights))
    return plain.eval()
