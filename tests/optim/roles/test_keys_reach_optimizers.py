"""Prefixed keys of presets for the optimizers that the seeds name, from the key to the built optimizer."""

from typing import Any

import pytest
from torch import nn

from ultra_core import optimizers
from ultra_core.plugins.signatures import read_options
from ultra_optim import build
from ultra_optim.roles.preset_keys import parse_parameters

OWN: dict[str, dict[str, Any]] = {
    "adafactor": {"beta2_decay": -0.7, "d": 2.0, "scale_parameter": True, "relative_step": True},
    "adamw": {"betas": (0.8, 0.95), "eps": 1e-7, "amsgrad": True, "decay_rule": "cautious"},
    "adan": {"betas": (0.97, 0.9, 0.98), "no_prox": True, "max_grad_norm": 1.5},
    "ademamix": {"betas": (0.9, 0.99, 0.999), "alpha": 8.0, "t_alpha_beta3": 70},
    "adopt": {"betas": (0.8, 0.999), "eps": 1e-5, "clip": False},
    "cautious_adamw": {"betas": (0.8, 0.95), "eps": 1e-7},
    "galore_adamw": {"rank": 3, "update_interval": 7, "scale": 0.5, "max_dim": 64, "adamw_lr": 2e-4},
    "lamb": {"betas": (0.8, 0.95), "max_trust": 10.0},
    "lion": {"betas": (0.95, 0.98), "decay_rule": "corrected"},
    "mars_adamw": {"gamma": 0.05, "optimize_1d": True, "lr_1d": 1e-3, "betas_1d": (0.8, 0.9)},
    "muon": {"momentum": 0.9, "nesterov": False, "ns_steps": 4, "adamw_lr": 1e-4, "adjust_lr_fn": "original"},
    "prodigy": {"d_coef": 0.5, "d0": 1e-5, "beta3": 0.99, "growth_rate": 1.1, "safeguard_warmup": True},
    "radam": {"betas": (0.8, 0.95), "eps": 1e-7},
    "schedulefree_adamw": {"r": 1.0, "weight_lr_power": 1.0, "warmup_steps": 9},
    "sgd_momentum": {"momentum": 0.8, "dampening": 0.1},
    "shampoo": {"precondition_frequency": 20, "start_preconditioning_step": 5, "max_preconditioner_dim": 64},
    "soap": {"precondition_frequency": 5, "max_precond_dim": 64, "adamw_betas": (0.8, 0.9)},
    "sophia": {"rho": 0.1, "update_period": 5, "betas": (0.9, 0.95)},
    "turbo_muon": {"momentum": 0.9, "ns_steps": 3, "adamw_lr": 1e-4},
}  # fmt: skip
"""Values other than the default for options of each."""

CASES = [(name, option, value) for name, own in OWN.items() for option, value in own.items()]


def network() -> nn.Module:
    return nn.Sequential(nn.Embedding(6, 8), nn.LayerNorm(8), nn.Linear(8, 8))


def built(name: str, parameters: dict[str, Any]) -> Any:
    options, roles, faults = parse_parameters(name, {f"{name}-{k}": v for k, v in parameters.items()})
    assert faults == []
    return build(name, network(), roles=roles, **{"total_steps": 50, **options})


@pytest.mark.parametrize(("name", "option", "value"), CASES, ids=[f"{n}-{o}" for n, o, _ in CASES])
def test_an_option_of_its_own(name: str, option: str, value: Any) -> None:
    assert read_options(optimizers.get(name))[option].default != value
    as_written = list(value) if isinstance(value, tuple) else value
    for group in built(name, {option: as_written}).param_groups:
        assert group[option] == value


@pytest.mark.parametrize("name", OWN)
def test_rates_and_decays_of_roles(name: str) -> None:
    roles = {"lr_embeddings": 0.25, "lr_norms": 0.5, "wd_norms": 0.125, "wd": 0.0625}
    groups = built(name, {"lr": 0.75, **roles}).param_groups
    own = 0.75 if name == "prodigy" else 1.0  # multipliers
    rates = {(g["role"], g["lr"] / own) for g in groups}
    assert rates >= {("embeddings", 0.25), ("norms", 0.5)}
    assert {g["lr"] for g in groups if g["role"] == "other"} == {0.75}
    decays = {(g["role"], g["weight_decay"]) for g in groups if g["decay"]}
    assert decays == {("embeddings", 0.0625), ("norms", 0.125), ("other", 0.0625)}
