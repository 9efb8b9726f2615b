"""Summaries of made-up results: the best learning rate, paired differences, table, CSV and page."""

import csv

import attrs
import pytest
from rich.console import Console

from ultra_train.compare.arms import Arm
from ultra_train.compare.budget import Budget
from ultra_train.compare.csv_files import write_csv
from ultra_train.compare.folder import ComparisonFolder
from ultra_train.compare.learning_rates import Sweep
from ultra_train.compare.page import ComparisonPage
from ultra_train.compare.plan import Plan, Trial
from ultra_train.compare.results import Point, Result
from ultra_train.compare.summary import ranked, summarise
from ultra_train.compare.table import print_table, remarks
from ultra_train.config import load_preset

LOSSES = {
    ("plain", 1.0): [4.0, 4.2, 4.1],
    ("plain", 3.0): [3.5, 3.8, 3.6],
    ("plain", 10.0): [3.9, None, 3.0],
    ("<b>swift</b>", 1.0): [3.4, 3.69, 3.5],
    ("<b>swift</b>", 3.0): [3.6, 3.8, 3.7],
    ("<b>swift</b>", 10.0): [5.0, 5.0, 5.0],
    ("broken", 1.0): [None, None, None],
    ("broken", 3.0): [None, None, None],
    ("broken", 10.0): [None, None, None],
}


@pytest.fixture(scope="module")
def results(tiny_preset):
    """Three arms, three learning rates, three seeds; some trials failed."""
    preset = load_preset(tiny_preset)
    found = []
    for (arm, factor), losses in LOSSES.items():
        for seed, loss in enumerate(losses, 1):
            trial = Trial(f"{len(found)}", arm, seed, 0.01 * factor, factor, preset)
            if loss is None:
                found.append(Result(trial=trial, status="failed", reason="out of memory: 3 GB\nmore"))
                continue
            points = [
                Point(
                    step, 10.0 * step, step / 36, {"loss": 6.0 - step / 10, "eval_loss": loss + 1 - step / 10}
                )
                for step in (1, 5, 10)
            ]
            facts = {"seconds": 12.0, "tokens_per_second": 50.0, "peak_memory": 2e9, "wall_seconds": 20.0}
            found.append(Result(trial=trial, status="finished", facts=facts, points=points))
    return found


@pytest.fixture(scope="module")
def plan(results):
    arms = tuple(Arm(name, results[0].trial.preset) for name in dict.fromkeys(arm for arm, _ in LOSSES))
    return Plan(
        arms=arms,
        trials=tuple(result.trial for result in results),
        budget=Budget("steps", 10),
        sweep=Sweep((1.0, 3.0, 10.0)),
        headline=("eval_accuracy",),
        notices=("a notice",),
        default_rates=frozenset(),
    )


@pytest.fixture(scope="module")
def summaries(plan, results):
    return summarise(plan, results)


def test_the_rate_with_the_lowest_mean_loss_is_chosen_among_those_that_all_seeds_finished(summaries):
    plain, swift, broken = summaries
    assert (plain.best.factor, plain.at_edge) == (3.0, False)
    assert (swift.best.factor, swift.at_edge) == (1.0, True)
    assert broken.loss is None
    assert not broken.at_edge
    assert broken.problems == ["out of memory: 3 GB"]
    assert ranked(summaries) == [swift, plain, broken]


def test_differences_are_paired_by_seed(summaries):
    plain, swift, broken = summaries
    found = swift.difference(plain)
    assert found.mean == pytest.approx(-0.1033, abs=1e-4)
    assert found.half_width == pytest.approx(
        4.30265 * 0.00577 / 3**0.5, rel=2e-2
    )  # far below those of the arms
    assert found.excludes_zero
    assert plain.loss.half_width > 0.3
    assert broken.difference(plain) is None


@pytest.mark.parametrize(
    ("changed", "diverged"),
    [([6.0, 5.0], False), ([6.0, 6.5], False), ([6.0, 9.0], True)],
)
def test_a_loss_far_above_its_start_has_diverged(results, changed, diverged):
    points = [
        attrs.evolve(results[0].points[0], step=n, values={"loss": v, "eval_loss": v})
        for n, v in enumerate(changed)
    ]
    found = attrs.evolve(results[0], points=points)
    assert found.diverged == diverged
    assert bool(found.problem) == diverged


def test_the_terminal_shows_all_columns_or_those_that_fit(plan, summaries):
    wide, narrow = (Console(record=True, width=w, force_terminal=True) for w in (200, 70))
    for console in (wide, narrow):
        print_table(plan, summaries, console)
    text = wide.export_text()
    lines = [line for line in text.splitlines() if "0.0" in line]
    assert "<b>swift</b>" in lines[0]
    assert "2.00 GB" in lines[0]
    assert "(x1, at the edge)" in lines[0]
    assert "±" in lines[1]
    assert "memory" not in narrow.export_text()
    said = list(remarks(plan, summaries))
    assert "broken: out of memory: 3 GB" in said
    assert any(
        line.endswith("at the edge of the sweep, so look beyond it, for <b>swift</b>.") for line in said
    )
    assert said[-1] == "a notice"


def test_tables_hold_every_value_and_interval(plan, results, summaries, tmp_path):
    folder = ComparisonFolder(tmp_path)
    write_csv(folder, plan, results, summaries)
    with (tmp_path / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    chosen = [r for r in rows if (r["arm"], r["seed"], r["learning_rate"]) == ("plain", "1", "0.03")]
    assert [(r["step"], r["metric"], float(r["value"])) for r in chosen[-2:]] == [
        ("10", "loss", 5.0),
        ("10", "eval_loss", 3.5),
    ]
    with (tmp_path / "summary.csv").open() as file:
        plain, swift, broken = csv.DictReader(file)
    assert (plain["seeds"], plain["failed"], broken["eval_loss"]) == ("3", "1", "")
    assert float(swift["difference_to_first_high"]) < 0
    assert swift["difference_to_best"] == ""


def test_the_page_is_whole_and_escapes_names(plan, results, summaries, tmp_path):
    folder = ComparisonFolder(tmp_path / "some")
    folder.record(plan, "ultra-train compare x")
    ComparisonPage(plan, results, summaries).write(folder)
    page = (folder.path / "comparison.html").read_text()
    assert "<b>swift</b>" not in page
    assert "&lt;b&gt;swift&lt;/b&gt;" in page
    for title in (
        "Final loss on held-out texts",
        "Loss by learning rate",
        "Results",
        "Loss in training",
        "Command",
    ):
        assert f"<h2>{title}" in page
    assert "ultra-train compare x" in page
    assert "Settings that differ" not in page  # nothing does
