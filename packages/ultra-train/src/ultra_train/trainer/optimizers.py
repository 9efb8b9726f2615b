"""Access to the optimizer of a trainer: without its wrapper, its evaluation weights, its learning rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import Optimizer

from ultra_optim.contract.traits import traits_of
from ultra_optim.sharded import ShardedOptimizer


def unwrapped(optimizer: Any) -> Optimizer:
    """Return the optimizer inside accelerate's wrapper."""
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    assert isinstance(optimizer, Optimizer)
    return optimizer


def local_state(optimizer: Any) -> Mapping[Any, Any]:
    """Return the state that this process has, by the numbers of the parameters."""
    inner: Any = unwrapped(optimizer)
    if isinstance(inner, ShardedOptimizer):
        return inner.local_state()
    state: Mapping[Any, Any] = inner.state_dict()["state"]
    return state


@contextmanager
def evaluation_weights(optimizer: Any) -> Iterator[dict[int, torch.Tensor]]:
    """Put the weights for evaluation, saving and export into the model, and restore the others exactly.

    Only optimizers with two sets of weights (trait ``eval_weights``) have such weights; for every other one
    this does nothing.

    Yields:
        the training weights by ``id(parameter)``; empty when there is only one set of weights.
    """
    inner = unwrapped(optimizer) if optimizer is not None else None
    if inner is None or not traits_of(inner).eval_weights:
        yield {}
        return
    parameters = [p for group in inner.param_groups for p in group["params"]]
    training = {id(p): p.detach().clone() for p in parameters}
    inner.eval()  # type: ignore[attr-defined]
    try:
        yield training
    finally:
        inner.train()  # type: ignore[attr-defined]
        with torch.no_grad():
            for parameter in parameters:  # swapping back rounds; copying does not
                parameter.copy_(training[id(parameter)])


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """Return the present learning rate of every role as ``lr_<role>``."""
    return {f"lr_{group.get('role', 'other')}": float(group["lr"]) for group in optimizer.param_groups}
