"""list: what is installed, and whether it works."""

import pytest

from ultra_core.plugins.kinds import KINDS
from ultra_core.plugins.metadata import Entry


def test_all_kinds_with_owners_and_summaries(ultra):
    result = ultra("list")
    assert result.exit_code == 0
    assert [line for line in result.output.splitlines() if not line.startswith(" ")] == [
        f"{k}:" for k in KINDS
    ]
    (line,) = [line for line in result.output.splitlines() if line.startswith("  retnet ")]
    assert "ultra-blocks 0.1.0" in line
    assert "retention" in line.lower()


def test_hook_plugins_are_listed_and_checked(ultra, monkeypatch):
    entry = Entry("diary", "third-party", "2.0", "no_such_module_of_hooks")
    monkeypatch.setattr("ultra_train.cli.listing.plugin_entries", lambda: (entry,))
    assert ultra("list").output.splitlines()[-2:] == ["hook plugins:", "  diary  third-party 2.0"]
    monkeypatch.setattr("ultra_train.cli.listing.KINDS", {"schedules": KINDS["schedules"]})
    result = ultra("list", "--check")
    assert result.exit_code == 1
    assert "hook plugins:diary" in result.stderr


@pytest.mark.parametrize("kind", ["blocks", "block"])
def test_one_kind(ultra, kind):
    output = ultra("list", kind).output
    assert output.startswith("blocks:\n")
    assert "norms" not in output


def test_an_unknown_kind_names_the_kinds(ultra):
    result = ultra("list", "blobs")
    assert result.exit_code == 2
    assert "blocks, norms" in result.output


def test_presets_by_guide_and_tag(ultra):
    output = ultra("list", "presets", "--guide", "lowest_vram", "--tag", "p40_safe").output
    assert [line.split()[0] for line in output.splitlines()[1:]] == [
        "es_arch_mini_cautious_adamw",
        "es_mlm_albert_sophia",
        "es_mlm_distilmbert_lamb",
    ]
    assert "standard " in ultra("list", "--tag", "p40_safe", "--tag", "medium").output


@pytest.mark.parametrize(
    ("option", "wanted", "said"),
    [("--guide", "lowest_vramm", "Did you mean 'lowest_vram'?"), ("--tag", "nothing", "There are: high, ")],
)
def test_a_guide_or_tag_that_no_preset_has_is_refused(ultra, option, wanted, said):
    found = ultra("list", "presets", option, wanted)
    assert found.exit_code == 2
    assert f"{option}: no installed preset has" in found.output
    assert said in found.output
    assert ultra("list", "blocks", "--tag", "p40_safe").exit_code == 2


def test_check_passes_what_imports(ultra):
    result = ultra("list", "schedules", "--check")
    assert result.exit_code == 0
    assert result.output.endswith("5 checked, 0 broken\n")


def test_check_shows_broken_ones_and_goes_on(ultra, tmp_path, monkeypatch):
    (tmp_path / "breaks.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "leaves.py").write_text("import os\nprint('hello')\nos._exit(7)\n")
    (tmp_path / "works.py").write_text("print('noise')\nfine = 1\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    entries = [
        Entry("breaks", "third-party", "2.0", "breaks:x"),
        Entry("leaves", "third-party", "2.0", "leaves:x"),
        Entry("lacks", "third-party", "2.0", "works:absent"),
        Entry("works", "third-party", "2.0", "works:fine"),
    ]
    monkeypatch.setattr(KINDS["blocks"], "_installed", lambda: entries)
    result = ultra("list", "blocks", "--check")
    assert result.exit_code == 1
    assert result.stdout.endswith("4 checked, 3 broken\n")
    lines = result.stderr.splitlines()
    assert [line.split()[1] for line in lines] == ["blocks:breaks", "blocks:lacks", "blocks:leaves"]
    assert "(third-party 2.0)" in lines[0]
    assert "nothing_of_this_name" in lines[0]
    assert "exit code 7" in lines[2]


def test_optimizers_show_state_what_they_treat_and_paper(ultra, tmp_path, monkeypatch):
    (tmp_path / "foreign_rule.py").write_text('class Rule:\n    """A rule of its own."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    entries = [*KINDS["optimizers"].entries(), Entry("rule", "third-party", "2.0", "foreign_rule:Rule")]
    monkeypatch.setattr(KINDS["optimizers"], "_installed", lambda: entries)
    lines = {line.split()[0]: line for line in ultra("list", "optimizers").output.splitlines()}
    start = {name: lines["name"].index(name) for name in ("state of a matrix", "treats", "arXiv")}
    for name, cells in {
        "lion": ("n  ", "everything  ", "2302.06675  "),
        "soap": ("2n + 2 rows^2 + 2 columns^2  ", "matrices, AdamW the rest  ", "2409.11321  "),
        "rule": ("   ", "   ", "            A rule of its own."),
    }.items():
        for column, cell in zip(start, cells, strict=True):
            assert lines[name][start[column] :].startswith(cell), (name, column)
