"""The README's code runs as it stands."""

import re
from pathlib import Path

import pytest
import torch

README = Path(__file__).parents[2] / "packages" / "ultra-blocks" / "README.md"
SHOWN_ERROR = re.compile(r">>> (.*)\n(?:[\w.]+\.)?(\w+): ([^>]*)")


def check_errors(block: str, names: dict) -> None:
    """Run the statements of an interactive example, each of which raises the error that follows it."""
    for statement, kind, shown in SHOWN_ERROR.findall(block):
        with pytest.raises(Exception) as caught:  # noqa: PT011  the type is part of the example
            exec(statement, names)
        assert caught.type.__name__ == kind
        assert str(caught.value).startswith(shown.strip().removesuffix("..."))


def test_code_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 7
    for block in blocks:
        if block.startswith(">>>"):
            check_errors(block, names)
        else:
            exec(block, names)
    assert sum(len(SHOWN_ERROR.findall(block)) for block in blocks) == 3
    assert (tmp_path / "my-encoder" / "modeling_ultra.py").is_file()
