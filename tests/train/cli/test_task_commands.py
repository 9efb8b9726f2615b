"""Commands that tasks declare: listed without importing the task, broken ones hurt only themselves."""

import subprocess
import sys
from typing import ClassVar

import click
import pytest

from ultra_core import tasks
from ultra_train.cli.app import commands
from ultra_train.cli.task_commands import task_commands


@pytest.fixture
def added(monkeypatch):
    monkeypatch.setattr(tasks, "_added", [])
    return lambda name, task: tasks.add(name, task, source="a-plugin")


@click.command("sing")
@click.argument("song")
def sing(song):
    """Sing a song."""
    click.echo(f"la la {song}")


class Choir:
    commands: ClassVar = {
        "sing": f"{__name__}:sing",
        "broken": "ultra_nowhere:command",
        "run": f"{__name__}:sing",
    }


def test_those_of_ours_are_read_without_importing_a_task():
    code = """import sys
from ultra_train.cli.task_commands import task_commands
assert task_commands() == {
    "fill-mask": "ultra_train.tasks.mlm.command:fill_mask",
    "predict": "ultra_train.tasks.labelled.command:predict",
}, task_commands()
assert not [name for name in sys.modules if name.startswith(("ultra_train.config", "ultra_train.tasks"))]
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"ULTRA_DISABLE_PLUGINS": "*"})


def test_a_task_brings_a_command_and_takes_none_of_ours(ultra, added, monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__, sys.modules["__main__"]))
    monkeypatch.setattr(sys.modules[__name__], "sing", sing, raising=False)
    added("choir", Choir)
    assert task_commands()["sing"] == f"{__name__}:sing"
    assert commands()["run"] == "ultra_train.cli.run:run"
    assert ultra("sing", "aloud").output == "la la aloud\n"
    assert "Sing a song." in ultra("--help").output


def test_a_command_that_cannot_be_imported_hurts_only_itself(ultra, added):
    added("choir", Choir)
    output = ultra("--help").output
    assert "Broken: the command at ultra_nowhere:command" in output
    assert "fill-mask" in output
    result = ultra("broken", "x", "--y")
    assert result.exit_code == 2
    assert "error: the command at ultra_nowhere:command cannot be imported" in result.stderr


def test_a_task_that_is_no_class_of_texts_has_none(added):
    added("odd", type("Odd", (), {"commands": {3: "x", "y": None}}))
    added("none", object())
    assert set(task_commands()) == {"fill-mask", "predict"}
