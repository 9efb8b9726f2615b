"""Running a model without changing anything that training depends on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ultra_train.system.random_state import random_state, restore_random_state


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
