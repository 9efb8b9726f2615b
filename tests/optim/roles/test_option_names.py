"""What people call the options of optimizers: other names, values cut for others, keys without effect."""

from typing import Any

import pytest

from ultra_core import optimizers
from ultra_core.contracts import SEED_ROLES
from ultra_core.plugins.aliases import Alias
from ultra_core.plugins.signatures import read_options
from ultra_optim.roles import option_names
from ultra_optim.roles.option_names import GENERIC, SYNONYMS, OptionNames
from ultra_optim.roles.preset_keys import displaced, parse_parameters

NAMES = optimizers.names()
BOTH = {"betas": [0.9, 0.95], "eps": 1e-8, "lr": 1e-4, "wd": 0.01}


@pytest.mark.parametrize("name", NAMES)
def test_keys_that_a_family_repeats_for_every_optimizer_are_never_wrong(name: str) -> None:
    keys = {f"{name}-{key}_{role}": value for key, value in BOTH.items() for role in SEED_ROLES}
    parsed = parse_parameters(name, keys)
    assert parsed.faults == []
    options = read_options(optimizers.get(name))
    idle = {key.partition("-")[2].rpartition("_")[0].replace("wd", "weight_decay") for key in parsed.idle}
    assert idle == GENERIC.keys() - options.keys()
    assert len(parsed.idle) == len(idle) * len(SEED_ROLES)
    for values in parsed.roles.values():
        if "betas" in values:
            assert values["betas"] == (0.9, 0.95, *options["betas"].default[2:])
        if "eps" in values:
            default = options["eps"].default
            assert values["eps"] == ((1e-8, *default[1:]) if isinstance(default, tuple) else 1e-8)
    again = parse_parameters(name, parsed.canonical)
    assert (again.options, again.roles) == (parsed.options, parsed.roles)
    assert [again.idle, again.faults, again.renamed, again.completed] == [[], [], {}, {}]


ALIASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("sophia", {"update_k": 7}, {"update_period": 7}),
    ("galore_adamw", {"update_proj_gap": 7}, {"update_interval": 7}),
    ("apollo", {"update_proj_gap": 7, "proj_type": "std"}, {"update_interval": 7, "proj_type": "std"}),
    ("apollo_mini", {"update_proj_gap": 7, "disable_nl": True}, {"update_interval": 7, "disable_nl": True}),
    ("apollo_8bit", {"scale_front": True}, {"scale_front": True}),
    ("adafactor", {"clip_threshold": 2.0}, {"d": 2.0}),
    ("adafactor", {"eps1": 1e-20, "eps2": 1e-2}, {"eps": (1e-20, 1e-2)}),
    ("adafactor", {"eps2": 1e-2}, {"eps": (1e-30, 1e-2)}),
    ("adafactor", {"beta2_decay": 0.8}, {"beta2_decay": -0.8}),
    ("adafactor", {"beta2_decay": -0.7}, {"beta2_decay": -0.7}),
    ("adafactor", {"decay_rate": 0.7}, {"beta2_decay": -0.7}),
    *((name, {"ns_eps": 1e-7}, {"ns_eps": 1e-7}) for name in NAMES if "muon" in name),
    ("scion", {"ns_eps": 1e-7}, {"ns_eps": 1e-7}),
]


@pytest.mark.parametrize(("name", "given", "meant"), ALIASES)
def test_other_names_and_signs(name: str, given: dict[str, Any], meant: dict[str, Any]) -> None:
    parsed = parse_parameters(name, {f"{name}-{key}": value for key, value in given.items()})
    assert parsed.faults == []
    assert parsed.options == meant
    assert set(parsed.canonical) == {f"{name}-{key}" for key in meant}
    others = {f"{name}-{key}" for key in given if key not in read_options(optimizers.get(name))}
    assert set(parsed.renamed) == others
    of_role = parse_parameters(name, {f"{name}-{key}_norms": value for key, value in given.items()})
    assert of_role.roles == {"norms": meant}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_declared_exists(name: str) -> None:
    names = OptionNames(name, optimizers.get(name), SEED_ROLES)
    for alias in names.names.values():
        assert alias.of in names.options
        assert alias.part is None or alias.part < len(names.options[alias.of].default)
    assert not names.idle.keys() & names.options.keys()


def test_a_quantised_apollo_by_its_other_name() -> None:
    alias = Alias(remark="its states are quantised, not the weights")
    assert optimizers.canonical("q_apollo") == ("apollo_8bit", alias)
    keys = {"q_apollo-lr": 1e-3, "q_apollo-update_proj_gap_norms": 5, "apollo_8bit-rank": 4}
    for name in ("q_apollo", "apollo_8bit"):
        parsed = parse_parameters(name, keys)
        assert parsed.options == {"lr": 1e-3, "rank": 4}
        assert parsed.roles == {"norms": {"update_interval": 5}}
        canonical = {"lr", "rank", "update_interval_norms"}
        assert set(parsed.canonical) == {f"apollo_8bit-{key}" for key in canonical}
        assert parsed.renamed["q_apollo-*"] == "apollo_8bit-*"


def test_a_whole_name_wins_over_a_name_and_a_role() -> None:
    roles = [*SEED_ROLES, "front"]
    parsed = parse_parameters("apollo", {"apollo-scale_front": True}, roles=roles)
    assert parsed.options == {"scale_front": True}
    parsed = parse_parameters("galore_adamw", {"galore_adamw-scale_front": 0.5}, roles=roles)
    assert parsed.roles == {"front": {"scale": 0.5}}
    (fault,) = parse_parameters("galore_adamw", {"galore_adamw-scale_front": 0.5}).faults
    assert "no hyperparameter 'scale_front', and 'front' is no role" in fault[1]


def test_an_option_that_a_method_has_not_is_idle_where_its_class_says_so() -> None:
    key = "cautious_adamw-cautious_clip"
    assert parse_parameters("cautious_adamw", {key: True}).idle == [key]
    assert parse_parameters("adamw", {"adamw-cautious_clip": True}).faults


BARE = {"momentum": 0.9, "nesterov": True, "ns_steps": 5}


def test_keys_without_prefix_where_they_are_allowed() -> None:
    parsed = parse_parameters("muon", {**BARE, "lr": 1e-3, "wd_norms": 0.1}, bare=True)
    assert parsed.options == {**BARE, "lr": 1e-3}
    assert parsed.roles == {"norms": {"weight_decay": 0.1}}
    assert set(parsed.canonical) == {f"muon-{key}" for key in (*BARE, "lr", "wd_norms")}
    assert parse_parameters("lion", BARE, bare=True).idle == list(BARE)
    assert len(parse_parameters("muon", BARE).faults) == 3
    assert len(parse_parameters("lion", {f"lion-{key}": v for key, v in BARE.items()}).faults) == 3
    assert parse_parameters("lion", {"momentum": "much"}, bare=True).faults


FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("adan", {"betas": [0.9]}, "betas is"),
    ("adamw", {"betas": [0.9, 0.99, 0.999]}, "betas is"),
    ("adamw", {"eps": [1e-8, 1e-8]}, "eps is"),
    ("muon", {"ns_coefficients": [3.0, -4.0]}, "ns_coefficients is"),
    ("adafactor", {"eps1": -1.0}, "eps is"),
    ("adafactor", {"eps": 1e-8, "eps1": 1e-8}, "sets the same option as 'adafactor-eps'"),
    ("adafactor", {"eps1": 1e-8, "eps": 1e-8}, "sets the same option as 'adafactor-eps1'"),
    ("adafactor", {"d": 1.0, "clip_threshold": 1.0}, "sets the same option as 'adafactor-d'"),
    ("adafactor", {"beta2_decay": 0}, "beta2_decay is"),
    ("adafactor", {"beta2_decay": True}, "beta2_decay is"),
    ("lion", {"eps_norms": "small"}, "eps is 'small'"),
    ("lion", {"eps_norms": -1}, "eps is -1"),
    ("sgd_momentum", {"betas": [0.9, 1.5]}, "betas is"),
    ("lion", {"eps_heads": 1e-8}, "no hyperparameter"),
    ("muon", {"learning_rate": 1e-3}, "Did you mean 'muon-lr'?"),
    ("muon", {"learning_rate_norms": 1e-3}, "Did you mean 'muon-lr_norms'?"),
    ("adamw", {"beta1": 0.9}, "Did you mean 'adamw-betas'?"),
    ("adamw", {"adam_epsilon": 0.9}, "Did you mean 'adamw-eps'?"),
]


@pytest.mark.parametrize(("name", "given", "message"), FAULTS)
def test_what_stays_wrong(name: str, given: dict[str, Any], message: str) -> None:
    ((_, found),) = parse_parameters(name, {f"{name}-{key}": value for key, value in given.items()}).faults
    assert message in found


def test_every_synonym_means_an_option_of_some_optimizer() -> None:
    known = {option for name in NAMES for option in read_options(optimizers.get(name))}
    assert set(SYNONYMS.values()) <= known


def test_thousands_of_wrong_keys_are_not_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    monkeypatch.setattr(option_names, "closest", lambda given, _: compared.append(given) or ())
    parsed = parse_parameters("adamw", {f"adamw-lrr{i}": 1 for i in range(5000)})
    assert len(parsed.faults) == 5000
    assert 50 < len(compared) < 1000


IMPLIED: list[tuple[str, dict[str, Any]]] = [
    ("galore_adamw", {"proj_type": "std"}),
    ("apollo_mini", {"rank": 1, "scale_type": "tensor"}),
    ("adafactor", {"warmup_init": False, "beta1": None}),
]


@pytest.mark.parametrize(("name", "given"), IMPLIED)
def test_what_a_method_does_anyway_may_be_said(name: str, given: dict[str, Any]) -> None:
    keys = {f"{name}-{key}{end}": value for key, value in given.items() for end in ("", "_norms")}
    parsed = parse_parameters(name, keys)
    assert parsed.faults == []
    assert set(parsed.idle) == set(keys)
    others = {f"{name}-{key}": "left" if isinstance(value, str) else 7 for key, value in given.items()}
    for _, message in parse_parameters(name, others).faults:
        assert "or leave it out" in message
    assert len(parse_parameters(name, others).faults) == len(given)


def test_the_key_set_of_another_adafactor() -> None:
    keys: dict[str, Any] = {"lr": 1e-3, "eps": [1e-30, 1e-3], "clip_threshold": 1.0, "decay_rate": -0.8}
    keys |= {"beta1": None, "weight_decay": 0.0, "scale_parameter": False, "relative_step": False}
    keys["warmup_init"] = False
    assert parse_parameters("adafactor", {f"adafactor-{key}": v for key, v in keys.items()}).faults == []


@pytest.mark.parametrize(
    ("name", "key", "message"),
    [
        ("adopt", "clip_lambda", "adopt has no hyperparameter 'clip_lambda'"),
        ("mars_adamw", "lr_1d_factor", "no hyperparameter 'lr_1d_factor'"),
        ("ademamix", "alpha_warmup", "no hyperparameter 'alpha_warmup'"),
        ("turbo_muon", "eps_ns", "Did you mean 'turbo_muon-ns_eps'"),
        ("adamw", "bets_norms", "Did you mean 'adamw-betas_norms'"),
        ("adamw", "LR", "Did you mean 'adamw-lr'"),
    ],
)
def test_a_name_that_begins_like_an_option_is_no_role(name: str, key: str, message: str) -> None:
    ((_, found),) = parse_parameters(name, {f"{name}-{key}": 1}).faults
    assert message in found
    assert "unknown role" not in found


def test_names_are_compared_without_the_optimizer() -> None:
    ((_, found),) = parse_parameters("adamw", {"adamw-foreach": True}).faults
    assert "Did you mean" not in found


@pytest.mark.parametrize(
    ("name", "keys", "option", "value"),
    [
        ("adafactor", {"eps1": 1e-20, "eps2_norms": 0.5}, "eps", (1e-20, 0.5)),
        ("adafactor", {"eps2_norms": 0.5, "eps": [1e-20, 0.1]}, "eps", (1e-20, 0.5)),
        ("adafactor", {"eps": [1e-20, 0.1], "eps_norms": 1e-8}, "eps", (1e-8, 0.1)),
        ("adan", {"betas": [0.9, 0.8, 0.7], "betas_norms": [0.95, 0.9]}, "betas", (0.95, 0.9, 0.7)),
        ("adan", {"betas_norms": [0.95, 0.9]}, "betas", (0.95, 0.9, 0.99)),
    ],
)
def test_a_role_is_completed_from_what_holds_for_all(
    name: str, keys: dict[str, Any], option: str, value: tuple[float, ...]
) -> None:
    parsed = parse_parameters(name, {f"{name}-{key}": given for key, given in keys.items()})
    assert parsed.faults == []
    assert parsed.roles["norms"][option] == value


def test_overrides_put_other_names_out_of_force() -> None:
    file = ["q_apollo-lr", "apollo_8bit-wd_norms", "apollo_8bit-rank"]
    over = {"apollo_8bit-lr": 1, "apollo_8bit-weight_decay_norms": 1, "apollo_8bit-rank": None}
    gone = displaced("q_apollo", {*file, *over}, over, roles=SEED_ROLES)
    assert gone == {"q_apollo-lr", "apollo_8bit-wd_norms", "apollo_8bit-rank"}
    over = {"adafactor-eps1": 1.0, "adafactor-nothing": 1.0}
    assert displaced("adafactor", {"adafactor-eps2", *over}, over, roles=SEED_ROLES) == set()
    assert (
        displaced("galore_adamw", {"galore_adamw-max_dim"}, {"galore_adamw-max_dim": None}, roles=()) == set()
    )
