"""Arms: names, what each one loads, what is refused and where."""

import textwrap

import pytest

from ultra_core.errors import UltraError
from ultra_train.compare.arms import build_arms
from ultra_train.compare.values import Axis

OPTIMIZER = "training.optimizer.optimizer_class"


def arms(presets, *varied, settings=()):
    return build_arms([str(p) for p in presets], [Axis.parse(v) for v in varied], settings)


def optimizer(arm):
    return arm.preset.training.optimizer


@pytest.fixture
def flat(tiny_preset, tmp_path):
    """The tiny preset with its optimizer in the flat spelling."""
    head, _, _ = tiny_preset.read_text().partition("  optimizer:\n")
    path = tmp_path / "flat.yaml"
    path.write_text(
        head + textwrap.indent("lr_other: 3e-4\nwd_norms: 0.5\nscheduler_total_steps: 12\n", "  ")
    )
    return path


def test_an_arm_is_named_after_what_differs(tiny_preset, flat):
    assert [a.name for a in arms([tiny_preset])] == ["tiny"]
    assert [a.name for a in arms([tiny_preset], f"{OPTIMIZER}=muon,lion")] == ["muon", "lion"]
    both = arms([tiny_preset, flat], f"{OPTIMIZER}=adamw", "training.batch_size=2,4")
    assert [a.name for a in both] == [
        "tiny, adamw, batch_size=2",
        "tiny, adamw, batch_size=4",
        "flat, adamw, batch_size=2",
        "flat, adamw, batch_size=4",
    ]
    assert [a.preset.training.batch_size for a in both] == [2, 4, 2, 4]


def test_the_preset_s_own_optimizer_keeps_its_parameters_and_others_start_from_their_defaults(tiny_preset):
    own, other = arms([tiny_preset], f"{OPTIMIZER}=muon,lion")
    assert optimizer(own).parameters == {"muon-lr": 0.01, "muon-lr_norms": 0.001}
    assert own.notices == ()
    assert optimizer(other).optimizer_class == "lion"
    assert optimizer(other).parameters == {}
    assert other.notices == (
        "it starts from the defaults of lion, without the preset's muon-lr, muon-lr_norms",
    )


def test_flat_keys_give_way_to_another_optimizer(flat):
    own, other = arms([flat], f"{OPTIMIZER}=adamw,lion")
    assert optimizer(own).parameters["adamw-lr"] == 3e-4
    assert optimizer(other).parameters == {}
    assert "lr_other, wd_norms" in other.notices[0]


def test_parameters_go_to_the_arms_of_their_optimizer(tiny_preset):
    given = [f"{OPTIMIZER}=muon,lion", "training.optimizer.parameters.lion-lr=1e-3,3e-3"]
    found = arms([tiny_preset], *given, settings=["training.optimizer.parameters.lion-wd=0.2"])
    assert [a.name for a in found] == ["muon", "lion, lion-lr=1e-3", "lion, lion-lr=3e-3"]
    assert [optimizer(a).parameters.get("lion-lr") for a in found] == [None, 1e-3, 3e-3]
    assert [
        optimizer(a).parameters.get("lion-weight_decay", optimizer(a).parameters.get("lion-wd"))
        for a in found
    ] == [
        None,
        0.2,
        0.2,
    ]


def test_a_schedule_that_an_optimizer_refuses_is_adapted_unless_it_was_chosen(tiny_preset):
    own, free = arms([tiny_preset], f"{OPTIMIZER}=muon,schedulefree_adamw")
    assert own.preset.training.scheduler_type == "cosine"
    assert free.preset.training.scheduler_type == "constant"
    assert "schedulefree_adamw replaces a schedule" in free.notices[-1]
    with pytest.raises(
        UltraError, match=r"--vary training.scheduler_type, column 25 \(cosine\): schedulefree"
    ):
        arms([tiny_preset], f"{OPTIMIZER}=schedulefree_adamw", "training.scheduler_type=cosine,constant")


@pytest.mark.parametrize(
    ("varied", "settings", "said"),
    [
        (
            "training.optimzer.x=1",
            (),
            r"--vary training.optimzer.x, column 21 \(1\): unknown key. Did you mean",
        ),
        (
            f"{OPTIMIZER}=adamv",
            (),
            r"--vary .*, column 36 \(adamv\): unknown optimizer 'adamv'. Did you mean",
        ),
        (
            "training.batch_size=2,x",
            (),
            r"--vary training.batch_size, column 23 \(x\): expected a whole number",
        ),
        (
            "model.num_heads=2,3",
            (),
            r"--vary model.num_heads, column 19 \(3\): hidden_size 16 is not a multiple",
        ),
        ("training.seed=1,2", (), "seeds are given with --seeds"),
        ("training.max_steps=1,2", (), "same budget; give it with --steps"),
        ("training.batch_size=2", ("training.batch_size=4",), "both varied and set"),
        (
            f"{OPTIMIZER}=muon",
            ("training.optimizer.parameters.lion-lr=1",),
            "no arm has the optimizer 'lion'",
        ),
    ],
)
def test_faults_are_told_with_their_place(tiny_preset, varied, settings, said):
    with pytest.raises(UltraError, match=said):
        arms([tiny_preset], varied, settings=settings)


def test_a_preset_is_compared_once(tiny_preset):
    with pytest.raises(UltraError, match="is there twice"):
        arms([tiny_preset, tiny_preset])
