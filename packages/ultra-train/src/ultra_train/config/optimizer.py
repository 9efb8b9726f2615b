"""Keys of ``training`` about the optimizer, in both spellings of the seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import attrs

from ultra_core.contracts import Range
from ultra_optim.roles.preset_keys import FLAT_DEFAULTS, FLAT_NAMES
from ultra_train.config.keys import Count, NonNegative, key

Beta = Annotated[float, Range(min=0, lt=1)]
Betas = tuple[Beta, Beta]


@attrs.frozen(kw_only=True)
class OptimizerConfig:
    """An optimizer plugin and its prefixed parameters; the canonical spelling."""

    optimizer_class: str = key(help="name of an optimizer plugin")
    parameters: dict[str, Any] = key(
        help="<optimizer>-<hyperparameter> or <optimizer>-<hyperparameter>_<role>", factory=dict
    )


def _flat(hyperparameter: str, role: str) -> Any:
    option = FLAT_NAMES[hyperparameter]
    value = FLAT_DEFAULTS[role][option]
    value = list(value) if isinstance(value, tuple) else value
    words = option.replace("lr", "learning rate").replace("_", " ")
    return key(
        None, f"{words} of the {role} parameters; {value} when another flat key is there", spelling=True
    )


@attrs.frozen(kw_only=True, slots=False)
class OptimizerKeys:
    """The optimizer; the flat spelling means AdamW, or GaLore-AdamW with ``use_galore``."""

    optimizer: OptimizerConfig | None = key(None, "optimizer plugin and its parameters")
    lr_embeddings: NonNegative | None = _flat("lr", "embeddings")
    lr_norms: NonNegative | None = _flat("lr", "norms")
    lr_ode: NonNegative | None = _flat("lr", "ode")
    lr_retnet: NonNegative | None = _flat("lr", "retnet")
    lr_mamba: NonNegative | None = _flat("lr", "mamba")
    lr_attention: NonNegative | None = _flat("lr", "attention")
    lr_other: NonNegative | None = _flat("lr", "other")
    wd_embeddings: NonNegative | None = _flat("wd", "embeddings")
    wd_norms: NonNegative | None = _flat("wd", "norms")
    wd_ode: NonNegative | None = _flat("wd", "ode")
    wd_retnet: NonNegative | None = _flat("wd", "retnet")
    wd_mamba: NonNegative | None = _flat("wd", "mamba")
    wd_attention: NonNegative | None = _flat("wd", "attention")
    wd_other: NonNegative | None = _flat("wd", "other")
    betas_embeddings: Betas | None = _flat("betas", "embeddings")
    betas_norms: Betas | None = _flat("betas", "norms")
    betas_ode: Betas | None = _flat("betas", "ode")
    betas_retnet: Betas | None = _flat("betas", "retnet")
    betas_mamba: Betas | None = _flat("betas", "mamba")
    betas_attention: Betas | None = _flat("betas", "attention")
    betas_other: Betas | None = _flat("betas", "other")
    eps_embeddings: NonNegative | None = _flat("eps", "embeddings")
    eps_norms: NonNegative | None = _flat("eps", "norms")
    eps_ode: NonNegative | None = _flat("eps", "ode")
    eps_retnet: NonNegative | None = _flat("eps", "retnet")
    eps_mamba: NonNegative | None = _flat("eps", "mamba")
    eps_attention: NonNegative | None = _flat("eps", "attention")
    eps_other: NonNegative | None = _flat("eps", "other")
    use_galore: bool | None = key(None, "low-rank gradients (the optimizer galore_adamw)", spelling=True)
    galore_rank: Count | None = key(None, "rank of the projection; 64 when left out", spelling=True)
    galore_update_interval: Count | None = key(
        None, "updates between projections; 1 when left out", spelling=True
    )
    galore_scale: NonNegative | None = key(
        None, "scale of projected updates; 1.0 when left out", spelling=True
    )
    galore_max_dim: Count | None = key(None, "largest side projected; 4096 when left out", spelling=True)


GALORE_DEFAULTS: Mapping[str, Any] = {"rank": 64, "update_interval": 1, "scale": 1.0, "max_dim": 4096}
RATE_KEYS: tuple[str, ...] = tuple(f"{h}_{role}" for h in FLAT_NAMES for role in FLAT_DEFAULTS)
GALORE_KEYS: tuple[str, ...] = tuple(f"galore_{name}" for name in GALORE_DEFAULTS)
FLAT_KEYS: tuple[str, ...] = (*RATE_KEYS, "use_galore", *GALORE_KEYS)
"""Every key of the flat spelling; a loaded preset has none of them."""


def from_flat(keys: OptimizerKeys) -> OptimizerConfig | None:
    """Return the canonical spelling of the flat keys, or None when no flat key names an optimizer.

    The values of ``other`` become those of the optimizer, so that they also hold for the roles of plugins.
    """
    galore = bool(keys.use_galore)
    if not galore and all(getattr(keys, name) is None for name in RATE_KEYS):
        return None
    name = "galore_adamw" if galore else "adamw"
    parameters: dict[str, Any] = {}
    for short, option in FLAT_NAMES.items():
        for role, defaults in FLAT_DEFAULTS.items():
            given = getattr(keys, f"{short}_{role}")
            value = defaults[option] if given is None else given
            suffix = "" if role == "other" else f"_{role}"
            parameters[f"{name}-{short}{suffix}"] = list(value) if isinstance(value, tuple) else value
    if galore:
        for option, default in GALORE_DEFAULTS.items():
            given = getattr(keys, f"galore_{option}")
            parameters[f"{name}-{option}"] = default if given is None else given
    return OptimizerConfig(optimizer_class=name, parameters=parameters)


def flat_key(key: str) -> str:
    """Return the flat key from which ``from_flat`` made a parameter."""
    rest = key.partition("-")[2]
    if rest in GALORE_DEFAULTS:
        return f"galore_{rest}"
    return f"{rest}_other" if rest in FLAT_NAMES else rest
