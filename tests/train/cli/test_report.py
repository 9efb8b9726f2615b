from __future__ import annotations

import shutil

import pytest

from ultra_train.run.folder_lock import locked


@pytest.fixture
def runs(finished_run, tmp_path):
    """A folder of runs with two of them."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for file in ("metrics.jsonl", "run.json", "config.yaml"):
            shutil.copy(finished_run / file, tmp_path / name / file)
    return tmp_path


def test_one_run_by_name_and_by_folder(ultra, runs):
    assert ultra("report", "one", "--output-dir", str(runs)).exit_code == 0
    assert ">finished<" in (runs / "one" / "report.html").read_text()
    assert ultra("report", str(runs / "two"), "-o", str(runs / "page.html")).exit_code == 0
    assert "<h1>two</h1>" in (runs / "page.html").read_text()


def test_several_runs(ultra, runs):
    result = ultra("report", "one", "two", "one", "--output-dir", str(runs), "-o", str(runs / "page.html"))
    assert result.exit_code == 0
    assert (runs / "page.html").read_text().count("data-group=") == 2


def test_a_run_in_progress(ultra, runs):
    with locked(runs / "one"):
        assert ultra("report", str(runs / "one")).exit_code == 0
    assert ">running<" in (runs / "one" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ome"], "there is no run 'ome'. Did you mean 'one'? Runs in {runs}: one, two."),
        (["{runs}"], "{runs} is no folder of a run"),
        (["one", "two"], "needs a file to be written to: -o page.html"),
        (["one", "-o", "{runs}"], "-o: {runs} is a folder"),
        (["one", "-o", "{runs}/no/page.html"], "-o: there is no folder {runs}/no"),
    ],
)
def test_bad_input(ultra, runs, arguments, said):
    given = [argument.replace("{runs}", str(runs)) for argument in arguments]
    result = ultra("report", *given, "--output-dir", str(runs))
    assert result.exit_code == 2
    assert said.replace("{runs}", str(runs)) in result.output
    assert not list(runs.rglob("*.html"))
