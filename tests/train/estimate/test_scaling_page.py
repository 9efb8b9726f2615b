"""The tables of ``docs/scaling.md`` hold what the estimate says; the smallest model stands for the others."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_is_as_it_is_written(monkeypatch):
    spec = importlib.util.spec_from_file_location("docs_of_scaling", DOCS / "scaling.py")
    scaling = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scaling)
    monkeypatch.setattr(scaling, "MODELS", {"100 M": scaling.MODELS["100 M"]})
    page = (DOCS / "scaling.md").read_text("utf-8")
    for name, make in scaling.TABLES.items():
        after = page.partition(scaling.MARK.format(name))[2].partition(scaling.END)[0].splitlines()
        missing = [line for line in make().splitlines() if line not in after]
        assert not missing, "run: python docs/scaling.py"
