"""Initialisation of modules: first weights, and buffers that are computed anew after loading."""

from __future__ import annotations

import inspect

from torch import nn


def initialise(module: nn.Module | None, *, std: float, residual_scale: float) -> None:
    """Call ``module.reset_parameters``, if there is one, with those arguments that it accepts.

    Args:
        module: a mixer, FFN, norm or embedding; None does nothing.
        std: standard deviation of the initial weights.
        residual_scale: factor for projections that write to the residual stream.
    """
    reset = getattr(module, "reset_parameters", None)
    if reset is not None:
        accepted = inspect.signature(reset).parameters
        arguments = {"std": std, "residual_scale": residual_scale}
        reset(**{name: value for name, value in arguments.items() if name in accepted})


def reset_buffers(module: nn.Module) -> None:
    """Call ``reset_buffers()`` of every module inside that has it.

    A module with buffers that are not saved (``persistent=False``) defines this method, which computes them
    from the options of its constructor. It is called after weights were loaded over the meta device, where
    such buffers have no values.
    """
    for part in module.modules():
        if callable(reset := getattr(part, "reset_buffers", None)):
            reset()
