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
