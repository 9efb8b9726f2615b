"""The benchmark of convergence says what diverges, and its plots repeat."""

from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def quality(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import optimizer_quality

    return optimizer_quality


def test_a_rate_that_is_too_large_is_said_to_diverge(quality, monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(quality, "FOLDER", tmp_path)
    monkeypatch.setattr(quality, "default_rate", lambda name: 1e3)
    problem = quality.Quadratic()
    problem.steps = 5
    assert quality.measure(["sgd_momentum"], [problem], "title", "file.md") == ["sgd_momentum on quadratic"]
    assert "DIVERGED" in capsys.readouterr().out
    assert not list(tmp_path.iterdir()), "a table of some optimizers must not replace that of all"


def test_rows_of_those_that_ran_are_merged_into_the_table_of_all(quality, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(quality, "FOLDER", tmp_path)
    monkeypatch.setattr(quality.optimizers, "names", lambda: ["adamw", "lion", "sgd_momentum"])
    problem = quality.Quadratic()
    problem.steps = 5

    def cells(name: str) -> list[str]:
        (line,) = (line for line in (tmp_path / "file.md").read_text().splitlines() if f"| {name} " in line)
        return [cell.strip() for cell in line.split("|")]

    quality.measure(["adamw", "sgd_momentum", "lion"], [problem], "title", "file.md")
    whole = (tmp_path / "file.md").read_text()
    before = {name: cells(name) for name in ("adamw", "sgd_momentum", "lion")}
    monkeypatch.setattr(quality, "default_rate", lambda name: 1e3)
    quality.measure(["sgd_momentum"], [problem], "title", "file.md")
    assert {name: cells(name) for name in ("adamw", "lion")} == {n: before[n] for n in ("adamw", "lion")}
    assert "DIVERGED" in cells("sgd_momentum")
    assert (tmp_path / "file.md").read_text().count("\n") == whole.count("\n")


def test_rows_of_another_problem_are_not_kept(quality, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(quality, "FOLDER", tmp_path)
    monkeypatch.setattr(quality.optimizers, "names", lambda: ["adamw", "lion"])
    problem = quality.Quadratic()
    problem.steps = 5
    quality.measure(["adamw", "lion"], [problem], "title", "file.md")
    before = (tmp_path / "file.md").read_text()
    problem.steps = 6
    quality.measure(["lion"], [problem], "title", "file.md")
    assert (tmp_path / "file.md").read_text() == before


@pytest.mark.parametrize("name", ["lion", "sophia", "schedulefree_adamw"])
def test_defaults_lower_the_loss(quality, name: str) -> None:
    problem = quality.Rosenbrock()
    problem.steps = 20
    found = quality.judge(name, problem, seconds=None)
    assert not found.diverged
    assert found.equal_time.loss == min(run.loss for run in found.sweep.values()) < found.start


def test_plots_repeat_to_the_byte(quality, monkeypatch) -> None:
    plots = quality.optimizer_plots
    monkeypatch.setattr(plots, "STEPS", 5)
    monkeypatch.setattr(plots, "FACTORS", (1.0,))
    first = plots.draw("muon")
    assert first == plots.draw("muon") != plots.draw("lion")
    assert "<dc:date>" not in first
