"""The call by which a training loop tells the modules of a model that an optimizer step has ended."""

from __future__ import annotations

from torch import nn


def after_step(model: nn.Module, taken: bool = True) -> None:
    """Call ``after_step(taken)`` on every module that defines it, for updates that use no gradient.

    A mixture of experts with ``balance: bias`` is one such module. In a custom training loop::

        loss.backward()         # as many micro-batches as the step has
        optimizer.step()
        after_step(model)

    Args:
        model: the model that is trained; every process of a distributed run makes this call.
        taken: False if the step was skipped, for example because of a non-finite gradient. The modules then
            discard what they counted for it.
    """
    for module in model.modules():
        if callable(method := getattr(module, "after_step", None)):
            method(taken)
