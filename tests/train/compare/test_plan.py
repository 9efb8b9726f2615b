"""The plan: equal terms for all trials, learning rates, what makes a comparison unfair."""

import attrs
import pytest

from ultra_core.errors import UltraError
from ultra_train.compare.arms import build_arms
from ultra_train.compare.budget import Budget, budget, common_length
from ultra_train.compare.learning_rates import Sweep, learning_rates, rated
from ultra_train.compare.plan import build_plan
from ultra_train.compare.values import Axis

OPTIMIZER = "training.optimizer.optimizer_class=muon,lion"


@pytest.fixture(scope="module")
def arms(tiny_preset):
    """Two arms with different optimizers."""
    return build_arms([str(tiny_preset)], [Axis.parse(OPTIMIZER)], [])


def plan(arms, **given):
    default = {"budget": Budget("steps", 100), "sweep": Sweep(), "seeds": None, "fixed": []}
    return build_plan(arms, **{**default, **given})


def with_training(arm, **keys):
    training = attrs.evolve(arm.preset.training, **keys)
    return attrs.evolve(arm, preset=attrs.evolve(arm.preset, training=training))


def test_trials_differ_in_the_arm_alone(arms):
    found = plan(arms, seeds=[5, 6])
    assert [t.name for t in found.trials] == ["muon-seed5", "lion-seed5", "muon-seed6", "lion-seed6"]
    one, other = (attrs.asdict(t.preset.training) for t in found.trials[:2])
    assert {key for key in one if one[key] != other[key]} == {"optimizer"}
    training = found.trials[2].preset.training
    assert (training.seed, training.max_steps, training.scheduler_total_steps) == (6, 100, 100)
    assert (training.eval_every_n_steps, training.checkpoint_every_n_steps) == (10, 20)


def test_what_is_set_stays(arms):
    changed = [with_training(arm, eval_every_n_steps=33) for arm in arms]
    kept = plan(changed, fixed=["training.eval_every_n_steps", "training.max_steps"]).trials[0]
    assert (kept.preset.training.eval_every_n_steps, kept.preset.training.max_steps) == (33, 100)


def test_the_seed_is_that_of_the_presets_where_they_agree(arms):
    assert plan(arms).seeds == [3]
    assert plan([arms[0], with_training(arms[1], seed=4)]).seeds == [1]


def test_every_rate_of_an_arm_is_multiplied(arms):
    own, tenfold = rated(arms[0].preset, Sweep((1.0, 10.0)))
    assert own.preset.training.optimizer == arms[0].preset.training.optimizer
    assert tenfold.preset.training.optimizer.parameters == {"muon-lr": 0.1, "muon-lr_norms": 0.01}
    assert (own.rate, tenfold.rate) == (0.01, pytest.approx(0.1))
    (by_default,) = rated(arms[1].preset, Sweep((3.0,)))
    assert by_default.preset.training.optimizer.parameters == {"lion-lr": 3e-4}
    (absolute,) = rated(arms[0].preset, Sweep((0.002,), absolute=True))
    assert absolute.preset.training.optimizer.parameters == {"muon-lr": 0.002, "muon-lr_norms": 0.0002}


def test_rates_of_roles_stand_for_an_arm_that_has_no_other(arms):
    rates = {
        f"muon-lr_{role}": 0.1 * n for n, role in enumerate(("embeddings", "norms", "attention", "other"), 1)
    }
    optimizer = attrs.evolve(arms[0].preset.training.optimizer, parameters=rates)
    preset = with_training(arms[0], optimizer=optimizer).preset
    found = learning_rates(preset)
    assert (found.rate, found.words, found.is_default) == (0.4, "0.1 to 0.4", False)
    (swept,) = rated(preset, Sweep((2.0,)))
    doubled = {key: pytest.approx(2 * value) for key, value in rates.items()}
    assert swept.preset.training.optimizer.parameters == doubled
    assert learning_rates(arms[1].preset).is_default


def test_tasks_that_differ_and_no_held_out_texts_are_refused(arms):
    with pytest.raises(UltraError, match=r"different tasks.*mlm: muon; splade: lion"):
        plan([arms[0], with_training(arms[1], task="splade")])
    with pytest.raises(UltraError, match=r"lion: training.eval_fraction is 0"):
        plan([arms[0], with_training(arms[1], eval_fraction=0.0)])


def test_what_makes_losses_incomparable_is_said(arms):
    notices = plan([arms[0], with_training(arms[1], max_length=12)]).notices
    assert "different values of training.max_length" in notices[-1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"steps": 0}, "--steps 0 is no budget"),
        ({"minutes": float("nan")}, "--minutes nan is no budget"),
        ({"tokens": -5}, "--tokens -5 is no budget"),
        ({"steps": 1, "minutes": 2.0}, "--steps and --minutes are two budgets"),
    ],
)
def test_what_is_no_budget_is_refused(given, said):
    with pytest.raises(UltraError, match=said):
        budget(**{"steps": None, "tokens": None, "minutes": None, **given})


def test_without_a_budget_all_presets_must_have_the_same_length(arms):
    presets = {"a": arms[0].preset, "b": with_training(arms[1], max_steps=20).preset}
    with pytest.raises(UltraError, match=r"a 12, b 20.*--steps, --tokens or --minutes"):
        common_length(presets)
    assert common_length({"a": arms[0].preset}) == Budget("steps", 12)


def test_a_budget_in_minutes_leaves_more_updates_than_it_takes(arms):
    keys = Budget("minutes", 2.0).keys(arms[0].preset.training)
    assert keys["max_steps"] == keys["eval_every_n_steps"] == 120_000
    assert Budget("minutes", 2.0).words == "2 minutes of training"
    assert Budget("tokens", 2_500_000).words == "2,500,000 tokens"
