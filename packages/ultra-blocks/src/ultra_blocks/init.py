"""Initialisation of a module that may take a standard deviation, a scale, both or neither."""

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
