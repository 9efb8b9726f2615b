"""The code of the package's README runs."""

import re
from pathlib import Path

import pytest
import torch

import ultra_optim
from ultra_core import optimizers, schedules
from ultra_core.plugins.signatures import read_options
from ultra_optim import public

README = (Path(__file__).parents[2] / "packages" / "ultra-optim" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_examples_run(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    if "print" in code:
        assert float(printed) < 0.5


def test_everything_is_mentioned() -> None:
    ours = [e.name for registry in (optimizers, schedules) for e in registry.entries()]
    assert all(f"`{name}`" in README for name in ours)


def test_which_names_compile_is_said() -> None:
    (names,) = re.findall(r"Updates of ((?:`\w+`(?:, | and |,?\n|\s))+)on a CPU are loops of C", README)
    have = [name for name in optimizers.names() if "compile" in read_options(optimizers.get(name))]
    assert re.findall(r"`(\w+)`", names) == have


def test_the_public_names_exist() -> None:
    classes = {optimizers.get(entry.name).__name__ for entry in optimizers.entries()}
    assert {*public.__all__} >= {*classes, "build", "create", "describe", "param_groups"}
    assert all(callable(getattr(ultra_optim, name)) for name in public.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Adam'"):
        _ = ultra_optim.Adam
