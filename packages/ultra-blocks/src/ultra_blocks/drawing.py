"""Drawing the first weights of a module that may take a standard deviation, a scale, both or neither."""

from __future__ import annotations

import inspect

from torch import nn


def draw(module: nn.Module | None, *, std: float, residual_scale: float) -> None:
    """Call ``module.reset_parameters``, where there is one, with those arguments that it names.

    Args:
        module: a mixer, FFN, norm or embedding; None does nothing.
        std: standard deviation of new weights.
        residual_scale: factor for projections that write to the stream.
    """
    reset = getattr(module, "reset_parameters", None)
    if reset is not None:
        known = inspect.signature(reset).parameters
        given = {"std": std, "residual_scale": residual_scale}
        reset(**{name: value for name, value in given.items() if name in known})
