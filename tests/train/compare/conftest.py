"""A comparison of tiny runs, trained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ultra_train.cli.app import main

VARIED = "training.optimizer.optimizer_class=muon,adamw"


@pytest.fixture(scope="package")
def arguments(tiny_preset: Path) -> Callable[..., list[str]]:
    """Return the arguments of a comparison of two optimizers in a folder."""

    def of(folder: Path, *more: str) -> list[str]:
        given = ["compare", str(tiny_preset), "--vary", VARIED, "--steps", "4", "--seeds", "2"]
        return [*given, "--device", "cpu", "-o", str(folder), *more]

    return of


@pytest.fixture(scope="package")
def compared(arguments: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished comparison; read it, never change it."""
    folder = tmp_path_factory.mktemp("compared") / "tiny"
    assert main(arguments(folder)) == 0
    return folder
