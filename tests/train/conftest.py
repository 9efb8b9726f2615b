"""Shared by the tests of ultra-train: presets as text, the command line, a cache, read-only folders."""

import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from support.preset_texts import BASE, MINIMAL, SPARSE
from support.tiny_run import write_preset
from ultra_core import tasks
from ultra_core.config import ConfigError, Fault, parse_source
from ultra_train.cli.app import cli
from ultra_train.config import load_any, to_yaml


@pytest.fixture(scope="session")
def command_cache(tmp_path_factory) -> Path:
    """A cache folder for the embedded commands: each language is built once a session."""
    return tmp_path_factory.mktemp("commands")


@pytest.fixture
def read_only(tmp_path):
    """Mount a folder again so that nothing in it can be written: ``read_only(folder)``."""
    mounted = []

    def mount(folder):
        where = tmp_path / "read-only"
        where.mkdir()
        for command in (["--bind", str(folder), str(where)], ["-o", "remount,bind,ro", str(where)]):
            if subprocess.run(["mount", *command], capture_output=True, check=False).returncode:
                pytest.skip("file systems cannot be mounted here")
            mounted[:] = [where]
        return where

    yield mount
    for where in mounted:
        subprocess.run(["umount", "--lazy", str(where)], check=True)  # shards stay mapped


Load = Callable[..., Any]
Problems = Callable[..., list[Fault]]


@pytest.fixture
def minimal() -> str:
    """A small valid preset of an encoder from scratch."""
    return MINIMAL


@pytest.fixture
def base() -> str:
    """A small valid preset that continues a base model."""
    return BASE


@pytest.fixture
def sparse() -> str:
    """A sparse preset; valid once its task is there."""
    return SPARSE


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a preset from its text."""

    def loaded(text: str, *overrides: str) -> Any:
        path = tmp_path / "preset.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return load_any(path, overrides)

    return loaded


@pytest.fixture
def problems(load: Load) -> Problems:
    """Load a preset from its text and return its faults, none if it is valid."""

    def found(text: str, *overrides: str) -> list[Fault]:
        try:
            load(text, *overrides)
        except ConfigError as error:
            return list(error.faults)
        return []

    return found


@pytest.fixture
def later_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the tasks that this release does not have yet."""
    monkeypatch.setattr(tasks, "_added", [])
    for name in ("sbert", "splade", "inference_free_splade", "csr"):
        if name not in tasks:
            tasks.add(name, object())


@pytest.fixture(scope="session")
def validator() -> Any:
    """The JSON Schema of presets."""
    from ultra_train.config.schema import preset_schema

    return jsonschema.Draft202012Validator(preset_schema())


@pytest.fixture
def accepted(load: Load, validator: Any) -> Callable[..., Any]:
    """Load a text that the schema accepts too, and whose canonical form loads to the same without a word."""

    def check(text: str, *overrides: str) -> Any:
        tree = parse_source(text, overrides).tree
        tree["training"].pop("task", None)  # the schema names the tasks that are installed
        assert list(validator.iter_errors(tree)) == []
        preset = load(text, *overrides)
        again = load(to_yaml(preset))
        assert again == preset
        assert not [line for line in again.notices if line.startswith(("other names", "completed"))]
        tree = parse_source(to_yaml(preset)).tree
        del tree["training"]["task"]
        assert list(validator.iter_errors(tree)) == []
        return preset

    return check


@pytest.fixture
def ultra(monkeypatch) -> Callable[..., Result]:
    """Run ``ultra-train`` with these arguments."""
    monkeypatch.delenv("ULTRA_DEBUG", raising=False)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments), terminal_width=120)

    return run


@pytest.fixture(scope="session")
def tiny_encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of two dense encoders and an inference-free sparse one."""
    from support.tiny_encoders import dense_encoder, inference_free_encoder

    folder = tmp_path_factory.mktemp("encoders")
    return {
        "dense": dense_encoder(folder / "a"),
        "other": dense_encoder(folder / "b", seed=1),
        "sparse": inference_free_encoder(folder / "s"),
    }


@pytest.fixture(scope="session")
def tiny_preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the preset."""
    return write_preset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def run_tiny(tiny_preset: Path) -> Callable[..., Path]:
    """Run the preset in this process: ``run_tiny(runs, "training.seed=4", resume=True)``."""

    def run(runs: Path, *overrides: str, **options: Any) -> Path:
        from ultra_train.config import load_preset
        from ultra_train.run.execution import execute

        preset = load_preset(tiny_preset, overrides)
        return execute(preset, output_dir=runs, device="cpu", **options)

    return run


@pytest.fixture(scope="session")
def finished_run(run_tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run; read it, never change it."""
    return run_tiny(tmp_path_factory.mktemp("finished"))
