"""The presets in the documentation are valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ultra_train.config import load_preset

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("page", ["continued.md"])
def test_presets_of_a_page_are_valid(page, tmp_path):
    found = re.findall(r"```yaml\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    assert found
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "some.txt").write_text("hola")
    for number, text in enumerate(found):
        preset = tmp_path / f"{number}.yaml"
        preset.write_text(text.replace("texts/", f"{tmp_path}/texts/"))
        assert not load_preset(preset).notices
