"""Tasks that cannot be used beside the others: list --check and describe say so."""

from typing import ClassVar

import attrs
import pytest

from ultra_core import tasks
from ultra_train.cli.task_faults import faults_of
from ultra_train.config.keys import Count, key
from ultra_train.tasks.base import Task


@attrs.frozen(kw_only=True)
class Taken:
    """A key that means something else."""

    batch_size: Count = key(3, "texts in a batch")


class Singing(Task):
    """Learns to sing."""

    options: ClassVar = Taken
    commands: ClassVar = {"run": f"{__name__}:Taken", "sing": f"{__name__}:Taken"}

    def start(self, preset, folder, **options):
        """Never called."""


@pytest.fixture
def singing(monkeypatch):
    monkeypatch.setattr(tasks, "_added", [])
    tasks.add("singing", Singing, source="a-choir")
    return tasks.entry("singing")


def test_colliding_keys_and_hidden_commands_are_named(singing):
    key, command = faults_of(singing)
    assert "declares the key training.batch_size, which every run declares otherwise" in key
    assert command == "ultra-train run is not its command but ultra_train.cli.run:run"
    assert faults_of(tasks.entry("mlm")) == []


def test_list_check_counts_them_and_describe_says_why(ultra, singing):
    result = ultra("list", "tasks", "--check")
    assert result.exit_code == 1
    assert "broken: tasks:singing (a-choir): the task 'singing' of a-choir declares the key" in result.stderr
    assert result.stdout.endswith(f"{len(tasks.names())} checked, 2 broken\n")
    output = ultra("describe", "singing").output
    assert "cannot be used as it is:\n    the task 'singing' of a-choir declares the key" in output
    assert "cannot be used" not in ultra("describe", "mlm").output


def test_check_finds_the_same(ultra, singing):
    result = ultra("plugin", "check", "task:singing", "--rule", "T3", "--rule", "T4")
    assert result.exit_code == 1
    assert "broken  T3: No key means something else" in result.output
    assert "broken  T4: ``commands`` is a literal dict" in result.output
