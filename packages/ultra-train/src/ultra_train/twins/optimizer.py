"""The optimizer of a preset, whose periods fit into a few updates."""

from __future__ import annotations

from typing import Any

from ultra_core import optimizers
from ultra_core.plugins.signatures import read_options
from ultra_train.config.optimizer import OptimizerConfig

SHORT: dict[str, int] = {
    "update_interval": 2,
    "update_period": 2,
    "precondition_frequency": 2,
    "start_preconditioning_step": 2,
    "warmup_steps": 2,
    "rank": 8,
}
"""The value that each of these options has at most."""


def shortened(config: OptimizerConfig) -> OptimizerConfig:
    """Return the same optimizer with the same parameters, but at most two updates between rare operations.

    Args:
        config: an optimizer in canonical form.
    """
    name = config.optimizer_class.rpartition(":")[2]
    parameters: dict[str, Any] = dict(config.parameters)
    for option in read_options(optimizers.get(config.optimizer_class)).values():
        if option.name in SHORT:
            key = f"{name}-{option.name}"
            parameters[key] = min(parameters.get(key, option.default), SHORT[option.name])
    return OptimizerConfig(optimizer_class=config.optimizer_class, parameters=parameters)
