"""What a training loop tells the modules of a model after each optimizer step."""

from __future__ import annotations

from torch import nn


def after_step(model: nn.Module, taken: bool = True) -> None:
    """Call ``after_step(taken)`` of every module that has it, for what follows updates and not gradients.

    One that has is a mixture of experts with ``balance: bias``. In a loop of your own::

        loss.backward()         # as many micro-batches as the step has
        optimizer.step()
        after_step(model)

    Args:
        model: the model that was trained; every process of a distributed run calls this.
        taken: False when the step was skipped (a gradient that was not finite): what the modules have
            counted for it is forgotten.
    """
    for module in model.modules():
        if callable(method := getattr(module, "after_step", None)):
            method(taken)
