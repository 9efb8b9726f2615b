"""docs/optimizers is what the docstrings and signatures say."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from ultra_core import optimizers

DOCS = Path(__file__).parents[2] / "docs"
NAMES = [entry.name for entry in optimizers.entries() if entry.distribution == "ultra-optim"]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_of_optimizers", DOCS / "optimizers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_page_is_stale(generator: ModuleType) -> None:
    assert sorted(generator.stale()) == [], "run: python docs/optimizers.py"


def test_a_changed_page_is_stale(generator: ModuleType, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(generator, "FOLDER", tmp_path / "optimizers")
    monkeypatch.setattr("sys.argv", ["optimizers.py"])
    generator.main()
    assert generator.stale() == {}
    (tmp_path / "optimizers" / "lion.md").write_text("# Another\n")
    monkeypatch.setattr("sys.argv", ["optimizers.py", "--check"])
    with pytest.raises(SystemExit):
        generator.main()
    assert list(generator.stale()) == ["lion.md"]


def test_pages_belong_to_optimizers(generator: ModuleType) -> None:
    there = {file.name for file in (DOCS / "optimizers").glob("*.md")}
    assert there - {"quality.md", "encoder.md"} == {"README.md", *(f"{name}.md" for name in NAMES)}


def test_a_page_has_formula_options_state_paper_and_plot(generator: ModuleType) -> None:
    text = generator.pages()["lion.md"]
    assert "```text\np <- (1 - lr wd) p - lr sign(b1 m + (1 - b1) g)" in text
    assert "| `lr` | `0.0001` | a number >= 0 | learning rate. |" in text
    assert "| `ultra_optim.Lion` | n | everything | [2302.06675]" in text
    assert "## Differs from the paper\n\nNothing.\n" in text


@pytest.mark.parametrize("file", ["quality.md", "encoder.md"])
def test_every_table_of_convergence_has_a_row_of_every_optimizer(file: str) -> None:
    text = (DOCS / "optimizers" / file).read_text(encoding="utf-8")
    for section in text.split("\n## ")[1:]:
        rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")]
        assert rows[2:] == sorted(NAMES), "run: python benchmarks/optimizers.py --quality --only NAME"


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere_and_plots_are_small(name: str) -> None:
    text = (DOCS / "optimizers" / f"{name}.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("https:")]
    assert f"plots/{name}.svg" in links
    assert all((DOCS / "optimizers" / link).is_file() for link in links)
    assert (DOCS / "optimizers" / "plots" / f"{name}.svg").stat().st_size < 40_000
