"""Running a model for a look without leaving a trace in what it trains with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ultra_train.trainer.checkpoints.state_files import random_state, restore_random_state


@contextmanager
def preserve_state(model: nn.Module) -> Iterator[None]:
    """Run a model without gradients; random generators, buffers and modes are afterwards what they were.

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
