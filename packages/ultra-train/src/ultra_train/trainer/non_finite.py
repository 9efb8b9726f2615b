"""Finding numbers that are not finite, and the module that they come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from ultra_optim.sharded.layout import local_part
from ultra_train.hf.probe import preserve_state
from ultra_train.system.processes import Processes
from ultra_train.trainer.fully_sharded import reshard


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether every element that this process holds is finite; one pass and one synchronisation."""
    floats = [local_part(t) for t in tensors if t.is_floating_point()]
    floats = [t for t in floats if t.numel()]
    return not floats or bool(torch.nn.utils.get_total_norm(floats, norm_type=math.inf).isfinite())


def first_bad_module(
    model: nn.Module, passes: Iterable[Callable[[], Any]], here: Processes | None = None
) -> str:
    """Return the origin of non-finite numbers: the first module in forward order whose output has some.

    Runs the model once more without gradients, and leaves random generators and buffers as they were. When
    every output is finite, the fault is in the backward pass; the parameter that is named then is the last
    one with a non-finite gradient, which the backward pass reached first.

    Args:
        model: the model.
        passes: functions that each run the model on a micro-batch of the update.
        here: this process; the others look at their own micro-batches, and all return the same.
    """
    here = here or Processes()
    with preserve_state(model):
        names: Iterable[str | None] = (_first_bad_output(model, run) for run in passes)
        if here.several:  # who share parameters must run the model equally often
            names = list(names)
        own = next((name for name in names if name is not None), None)
    reshard(model)  # or the gradients below would be those of the whole parameters, which nothing clears
    for name in here.gather(own):
        if name is not None:
            return str(name)
    bad = [n for n, p in model.named_parameters() if p.grad is not None and not all_finite([p.grad])]
    for name in here.gather(bad[-1] if bad else None):
        if name is not None:
            return f"the gradient of {name}"
    return "no module: outputs and single gradients are finite"


def _first_bad_output(model: nn.Module, run: Callable[[], Any]) -> str | None:
    first: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            if not first and not all_finite(_tensors(output)):
                weights = [n for n, p in module.named_parameters() if not all_finite([p])]
                first.append(f"{name or 'the model'} ({type(module).__name__})")
                if weights:
                    first[0] += f", whose weight {weights[0]} is not finite"

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return first[0] if first else None


def _tensors(output: Any) -> Iterable[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, (list, tuple)):
        for value in output:
            yield from _tensors(value)
    elif attrs.has(type(output)):
        for field in attrs.fields(type(output)):
            yield from _tensors(getattr(output, field.name))
