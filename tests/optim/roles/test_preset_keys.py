"""Optimizer keys of presets."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ultra_core import optimizers
from ultra_core.contracts import SEED_ROLES
from ultra_core.errors import UnknownNameError
from ultra_optim import build
from ultra_optim.roles.preset_keys import FLAT_DEFAULTS, FLAT_NAMES, parse_parameters


def test_keys_with_and_without_role() -> None:
    options, roles, faults = parse_parameters(
        "adamw",
        {
            "adamw-lr": 1e-4,
            "adamw-lr_embeddings": 1e-5,
            "adamw-wd_norms": 0.001,
            "adamw-weight_decay": 0.1,
            "adamw-betas_attention": [0.9, 0.98],
            "adamw-eps_other": 1e-6,
        },
    )
    assert options == {"lr": 1e-4, "weight_decay": 0.1}
    assert roles == {
        "embeddings": {"lr": 1e-5},
        "norms": {"weight_decay": 0.001},
        "attention": {"betas": (0.9, 0.98)},
        "other": {"eps": 1e-6},
    }
    assert faults == []


def test_the_longest_hyperparameter_wins() -> None:
    parsed = parse_parameters(
        "muon", {"muon-adamw_lr": 1e-3, "muon-adamw_lr_embeddings": 1e-4, "muon-ns_steps": 4}
    )
    assert parsed.options == {"adamw_lr": 1e-3, "ns_steps": 4}
    assert parsed.roles == {"embeddings": {"adamw_lr": 1e-4}}


def test_what_is_parsed_builds() -> None:
    options, roles, _ = parse_parameters("lion", {"lion-lr": 1e-4, "lion-wd": 1.0, "lion-lr_other": 2e-4})
    groups = build(
        "lion", nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 4)), roles=roles, **options
    ).param_groups
    assert {g["role"]: g["lr"] for g in groups} == {"embeddings": 1e-4, "other": 2e-4}
    assert groups[0]["weight_decay"] == 1.0


def test_roles_of_plugins() -> None:
    given_keys = {"adamw-lr_titan": 1e-3}
    ((key, message),) = parse_parameters("adamw", given_keys).faults
    assert key == "adamw-lr_titan"
    assert "unknown role 'titan'" in message
    parsed = parse_parameters("adamw", given_keys, roles=[*SEED_ROLES, "titan"])
    assert parsed.roles == {"titan": {"lr": 1e-3}}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("lr", 1e-3, "write 'adamw-lr'"),
        ("lr_norms", 1e-3, "write 'adamw-lr_norms'"),
        ("galore_adamw-lr", 1e-3, "write 'adamw-lr'"),
        ("lion-rank", 3, "'adamw-'; the hyperparameters of adamw are amsgrad, betas"),
        ("adamw-rank", 3, "adamw has no hyperparameter 'rank'"),
        ("adamw-weight_deacy", 3, "Did you mean 'adamw-weight_decay'"),
        ("adamw-lr_norm", 1e-3, "unknown role 'norm'. Did you mean 'norms'"),
        ("adamw-lr", "1e-3", "lr is '1e-3'; expected a number"),
        ("adamw-lr", True, "lr is True"),
        ("adamw-lr", -1, "lr is -1; expected a number >= 0"),
        ("adamw-betas", [0.9, 1.0], "betas is"),
        ("adamw-betas_norms", [0.9], "betas is"),
        ("adamw-params", [1], "no hyperparameter 'params'"),
    ],
)
def test_faults(key: str, value: Any, message: str) -> None:
    parsed = parse_parameters("adamw", {key: value, "adamw-eps": 1e-6})
    assert parsed.options == {"eps": 1e-6}
    assert parsed.roles == {}
    ((found, text),) = parsed.faults
    assert found == key
    assert message in text


def test_the_same_thing_said_twice() -> None:
    parsed = parse_parameters("adamw", {"adamw-wd_norms": 0.1, "adamw-weight_decay_norms": 0.2})
    assert parsed.roles == {"norms": {"weight_decay": 0.1}}
    assert parsed.faults == [
        ("adamw-weight_decay_norms", "sets the same option as 'adamw-wd_norms'; keep one of them")
    ]


def test_unknown_optimizer() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean .*'adamw'"):
        parse_parameters("adamv", {})
    assert parse_parameters("ultra-optim:adamw", {"adamw-lr": 1.0}).options == {"lr": 1.0}


def test_values_of_the_flat_spelling_are_those_of_the_seed() -> None:
    assert FLAT_DEFAULTS.keys() == set(SEED_ROLES)
    assert FLAT_DEFAULTS["embeddings"] == {
        "lr": 1e-6,
        "weight_decay": 0.01,
        "betas": (0.9, 0.95),
        "eps": 1e-8,
    }
    assert [values["lr"] for values in FLAT_DEFAULTS.values()] == [1e-6, 5e-6, 1e-7, 5e-6, 2e-6, 3e-6, 2e-6]
    assert FLAT_DEFAULTS["norms"]["weight_decay"] == 0.001
    assert all(name in FLAT_DEFAULTS["other"] for name in FLAT_NAMES.values())


@pytest.mark.parametrize("name", optimizers.names())
@given(
    keys=st.dictionaries(
        st.one_of(
            st.text(max_size=12), st.from_regex(r"[a-z]+-(lr|wd|betas|eps)_[a-z]{0,8}", fullmatch=True)
        ),
        st.one_of(
            st.none(), st.booleans(), st.floats(), st.text(max_size=3), st.lists(st.floats(), max_size=3)
        ),
        max_size=4,
    )
)
def test_any_keys_parse_or_are_faults(name: str, keys: dict[str, Any]) -> None:
    parsed = parse_parameters(name, keys)
    accepted = len(parsed.options) + sum(map(len, parsed.roles.values())) + len(parsed.idle)
    assert accepted + len(parsed.faults) == len(keys)
    assert all(key in keys and message for key, message in parsed.faults)
