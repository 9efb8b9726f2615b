"""The README's code runs as it stands."""

import re
from pathlib import Path

import pytest
import torch

from ultra_blocks.config import ModelConfigError

README = Path(__file__).parents[2] / "packages" / "ultra-blocks" / "README.md"


def test_code_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        if block.startswith(">>>"):
            statement, _, shown = block.partition("\n")
            with pytest.raises(ModelConfigError) as caught:
                exec(statement.removeprefix(">>> "), names)
            name = f"{ModelConfigError.__module__}.ModelConfigError: "
            assert shown.startswith(name)
            assert str(caught.value).startswith(shown.removeprefix(name)[:90])
        else:
            exec(block, names)
    assert (tmp_path / "my-encoder" / "modeling_ultra.py").is_file()
